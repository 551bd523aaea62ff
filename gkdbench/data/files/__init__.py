"""Files as users have them: folders and archives searched by path templates, pictures decoded, ids mapped."""
