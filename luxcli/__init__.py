"""Records a Luxtronik 2.x heat pump from cron: every value, nothing lost, a CSV each morning."""

__version__ = "0.1.0"
