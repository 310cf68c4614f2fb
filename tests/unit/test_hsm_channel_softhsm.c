// SPDX-License-Identifier: Apache-2.0
// The worker's part of the channel on SoftHSM.
#include "hsm_channel_cases.h"
#include "token_fixture.h"
#include "unit.h"

TOKEN_MAIN(TOKEN_SOFTHSM, "hsm_channel_softhsm", tcase_channel_handshakes(),
           tcase_channel_sessions())
