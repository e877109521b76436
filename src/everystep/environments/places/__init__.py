"""Places to move and act in: grids, homes, puzzles, text games, a workbench."""
