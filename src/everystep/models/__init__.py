"""Models that answer turns: local (torch), chat endpoints, scripted, noisy, replay."""
