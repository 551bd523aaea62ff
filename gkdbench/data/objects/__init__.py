"""Labelled boxes from files: VOC's XML and COCO's JSON, and what detectors found as files that others read."""
