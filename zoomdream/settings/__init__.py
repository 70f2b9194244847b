"""Every setting, with its unit and range; schedules and presets. Imports no torch."""
