"""The wing behind `vis_utils`: figures, grids, curves, filters, confusions and mistakes."""
