"""What the Salt modules, states and runners share. Salt's loader does not look in here."""
