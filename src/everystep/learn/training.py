"""The loop that trains: collect, credit, update, measure; the same for every recipe.

Everything random derives from the seed and the iteration, and each finished iteration leaves a
checkpoint, so a killed run goes on where it stopped and ends with the same weights to the bit (on one
thread of one machine).
"""

from __future__ import annotations
