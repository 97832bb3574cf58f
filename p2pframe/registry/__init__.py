"""Finds plugins, in installed packages and in folders of single files, and checks what it found."""

from p2pframe.registry.registry import Known, Registry

__all__ = ["Known", "Registry"]
