#include "common.h"
#include "baseline.h"
#include "f64.h"
#define TABLE baseline_f64
#include "all.h"
