"""Running Plumbline: the launcher and its guard, migrations, the doctor, tables on a terminal."""
