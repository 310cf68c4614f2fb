// SPDX-License-Identifier: Apache-2.0
// The worker's part of the channel on NSS.
#include "hsm_channel_cases.h"
#include "token_fixture.h"
#include "unit.h"

#include <stdio.h>

int main(void) {
    if (!token_choose(TOKEN_NSS)) {
        puts("1..0 # SKIP NSS is not installed");
        return EXIT_SUCCESS;
    }
    Suite *suite = suite_create("hsm_channel_nss");
    suite_add_tcase(suite, tcase_channel_handshakes());
    suite_add_tcase(suite, tcase_channel_sessions());
    SRunner *runner = srunner_create(suite);
    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
