"""What the registers of a Luxtronik controller mean: names, units, codes, ranges."""
