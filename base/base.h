// SPDX-License-Identifier: Apache-2.0
// base.h: what the other folders include of base/.
#ifndef KD_BASE_BASE_H
#define KD_BASE_BASE_H

#include "attr.h"
#include "buf.h"
#include "cbor.h"
#include "cells.h"
#include "chain.h"
#include "clock.h"
#include "confine.h"
#include "ecdsa.h"
#include "err.h"
#include "heap.h"
#include "json.h"
#include "json_out.h"
#include "log.h"
#include "loop.h"
#include "map.h"
#include "secret.h"
#include "signals.h"
#include "text.h"

#endif
