"""How good a model is: benches with known answers, asked as the model's makers ask."""
