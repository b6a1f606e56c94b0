"""Measurements: how fast the appliance starts, decodes, batches and idles, and models of real size to measure with."""
