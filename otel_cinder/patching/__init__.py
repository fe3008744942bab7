"""Puts functions of ours in the place of other libraries', and puts those back."""
