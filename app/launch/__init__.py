"""Running Plumbline: the launcher and its guard, migrations, backups, the doctor and health checks."""
