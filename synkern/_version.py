"""The version of the package; a module of its own, so that all may know it."""

VERSION = "0.1.0"
