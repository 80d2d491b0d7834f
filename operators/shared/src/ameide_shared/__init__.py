"""What the four Ameide operators share: conditions, planning, converging and the controller machinery."""
