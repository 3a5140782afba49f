"""Reads a Luxtronik controller over TCP; never writes to it."""
