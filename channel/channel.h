// SPDX-License-Identifier: Apache-2.0
// channel.h: the message channel, for hsm/ and client/: a handshake, the keys
// that follow from it, and the records that they protect.  Bytes in, bytes out:
// no I/O, no clock, and keys only through struct kd_keyops and
// struct kd_traffic_ops.  docs/protocol.md says what is on the wire.
#ifndef KD_CHANNEL_CHANNEL_H
#define KD_CHANNEL_CHANNEL_H

#include "channel/cred.h"
#include "channel/ead.h"
#include "channel/edhoc.h"
#include "channel/envelope.h"
#include "channel/exporter.h"
#include "channel/frame.h"
#include "channel/host.h"
#include "channel/hpke.h"
#include "channel/keyops.h"
#include "channel/otp.h"
#include "channel/record.h"
#include "channel/schedule.h"
#include "channel/suite.h"
#include "channel/traffic.h"
#include "channel/window.h"

#endif
