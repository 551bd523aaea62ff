"""What makes two results the same: everything that enters a digest, and why.

A digest holds what a result depends on and nothing else, so that equal digests mean equal results, on any machine.
Read from bottom to top:

    digest.py   what a digest is, the version numbers in all of them, and the names of runs
    code.py     the code of a method: syntax trees, so that explaining it better changes nothing
    stage.py    the weights that a stage leaves: its code, options, recipe, data, seed and the stage it starts from; not
                the method's name, other stages' options, targets, paths, workers or devices, so that runs share stages
    run.py      the scores of a run: both models, the method, every recipe, the data and the targets

The digest of images and labels is made by who reads them (gkdbench.data), and of weights by what loads them
(gkdbench.models): both know best what of a file changes what they give.
"""
