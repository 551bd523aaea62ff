"""The report: tables, figures and a page, from records and published numbers alone. No torch."""
