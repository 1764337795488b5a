"""What images a sales channel wants, and candidates made fit for it."""
