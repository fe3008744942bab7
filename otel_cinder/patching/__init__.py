"""Replaces functions of other libraries by our own, and puts them back."""
