"""What people look at: the terminal, tables, plots, model cards, reasons, and the page of a ranking."""
