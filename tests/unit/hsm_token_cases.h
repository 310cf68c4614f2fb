// SPDX-License-Identifier: Apache-2.0
// hsm_token_cases.h: the cases that test_hsm_softhsm.c and test_hsm_nss.c run.
#ifndef KD_TESTS_HSM_TOKEN_CASES_H
#define KD_TESTS_HSM_TOKEN_CASES_H

#include <check.h>

TCase *tcase_token_keys(void);
TCase *tcase_token_secrets(void);
TCase *tcase_token_rewrap(void);  // hsm_rewrap_cases.c
TCase *tcase_token_vectors(void); // hsm_wycheproof.c

#endif
