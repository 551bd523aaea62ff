"""The errors a user can cause or meet: one clear line each, and the exit code that scripts rely on."""


class GkdbenchError(Exception):
    """What is wrong, where (file, key, value) and what to do, in one line. Exit code 1: a run failed."""

    exit_code = 1


class UsageError(GkdbenchError):
    """A wrong command line, option or configuration file."""

    exit_code = 2


class DataError(GkdbenchError):
    """Missing or bad data, weights, disk space or permissions."""

    exit_code = 3


class Unsupported(GkdbenchError):
    """A method cannot run on this pair or task; the reason goes to the record and the table cell."""


class Interrupted(GkdbenchError):
    """A signal stopped the run after its state was saved; the same command continues."""

    exit_code = 130
