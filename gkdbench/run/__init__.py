"""From a selection to records: plan, store, runner."""
