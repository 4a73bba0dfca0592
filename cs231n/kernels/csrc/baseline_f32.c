#include "common.h"
#include "baseline.h"
#include "f32.h"
#define TABLE baseline_f32
#include "all.h"
