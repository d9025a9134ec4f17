"""TD-MPC2, BMPC and value-gradient ensembles: one family of world models that plan."""
