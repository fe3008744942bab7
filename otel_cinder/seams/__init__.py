"""One module per library that is patched. None imports another seam, none imports Cinder."""
