"""From YAML to checked objects: positions, every error at once, secrets kept out of sight."""
