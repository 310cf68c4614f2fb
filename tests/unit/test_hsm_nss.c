// SPDX-License-Identifier: Apache-2.0
// The worker's operations on NSS.
#include "hsm_token_cases.h"
#include "token_fixture.h"
#include "unit.h"

TOKEN_MAIN(TOKEN_NSS, "hsm_nss", tcase_token_keys(), tcase_token_secrets(), tcase_token_rewrap(),
           tcase_token_vectors())
