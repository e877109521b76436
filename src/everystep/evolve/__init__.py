"""What a run leaves for the next one: memory, skills, curricula, archives."""
