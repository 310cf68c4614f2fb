// SPDX-License-Identifier: Apache-2.0
// The policy: denials first.
#include "keyd/policy.h"
#include "text_file.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct kd_policy *policy;

static void setup(void) {
    text_file_setup();
    policy = NULL;
}

static void teardown(void) {
    kd_policy_free(policy);
    text_file_teardown();
}

static enum kd_err read_text(const char *text) {
    text_file_write(text);
    kd_policy_free(policy);
    policy = NULL;
    return kd_policy_read(tf.path, &tf.errors, &policy);
}

// With this line number and this word.
static void refused(const char *text, int line, const char *word) {
    ck_assert_msg(read_text(text) == KD_ERR_CONFIG, "took: %s", text);
    ck_assert_ptr_null(policy);
    text_file_says(line, word);
}

START_TEST(broken_policies_are_refused_with_their_place) {
    refused("principal \"a\" { uid = 1 }\nallow \"b\" { operations = {sign} keys = {\"*\"} }\n", 2,
            "no principal \"b\"");
    refused("principal \"a\" { }\nallow \"a\" { operations = {fly} keys = {\"*\"} }\n", 2, "fly");
    refused("principal \"a\" { }\nallow \"a\" { keys = {\"*\"} }\n", 2, "no operations");
    refused("principal \"a\" { }\nallow \"a\" { operations = {sign} }\n", 2, "no keys");
    refused("principal \"a\" { }\nallow \"a\" { operations = {\"*\"} }\n", 2, "no keys");
    refused("principal \"a\" { }\nallow \"a\" { operations = {sign} keys = {\"a b\"} }\n", 2,
            "a b");
    refused("principal \"a\" { }\nallow \"a\" { operations = {sign} keys = {\"[a]\"} }\n", 2,
            "[a]");
    refused("principal \"a\" { }\nallow \"a\" { operations = {sign} keys = {\"\"} }\n", 2, "''");
    refused("principal \"a\" { uid = -1 }\n", 1, "uid");
    refused("principal \"a\" { uid = 4294967295 }\n", 1, "uid");
    refused("principal \"a\" {\n user = \"no-such-user-here\"\n}\n", 2, "no-such-user-here");
    refused("principal \"a\" {\n group = \"no-such-group-here\"\n}\n", 2, "no-such-group-here");
    refused("principal \"a b\" {\n}\n", 2, "a b");
    refused("principal \"a\" {\n}\nprincipal \"a\" {\n}\n", 4, "second principal");
    refused("principal \"a\" {\n uid = 1\n uid = 2\n uid = 3\n}\n", 3, "second time");
    refused("principal \"a\" {\n uid = {1}\n uid = {2}\n}\n", 3, "second time");
    refused("principal \"a\" {\n colour = 1\n}\n", 2, "colour");
    refused("principal \"a\" { uid = 1 }\nallow \"a\" { operations = {sign} keys = {\"*\"}\n", 4,
            "closing brace");
    refused("include(\"/etc/passwd\")\n", 1, "include");
}
END_TEST

#define A "principal \"a\" { uid = 1 }\n"
#define RULE(operations, limits)                                                                   \
    A "allow \"a\" { operations = {" operations "} keys = {\"k-*\"} " limits " }\n"

START_TEST(limits_that_are_none_are_refused) {
    static const char *const keys[] = { "0", "-1", "1000001", "many", "1.5", "\"\"", "{1}", "" };
    static const char *const versions[] = { "0", "-1", "1", "1001", "few", "{3}" };
    char text[256];
    for (size_t i = 0; i < KD_COUNT_OF(keys); i++) {
        snprintf(text, sizeof(text), RULE("create", "keys-max = %s"), keys[i]);
        refused(text, 2, "");
    }
    for (size_t i = 0; i < KD_COUNT_OF(versions); i++) {
        snprintf(text, sizeof(text), RULE("rotate", "versions-max = %s"), versions[i]);
        refused(text, 2, "");
    }
    refused(RULE("create", "keys-max = 0"), 2, "'keys-max' is 0: 1 to 1000000 are allowed");
    refused(RULE("rotate", "versions-max = 1"), 2, "'versions-max' is 1: 2 to 1000 are allowed");
    refused(RULE("create", "keys-max = 1 keys-max = 2"), 2, "second time");
    refused(RULE("rotate", "versions-max = 2 versions-max = 3"), 2, "second time");
    refused(A "keys-max = 1\n", 2, "keys-max");
    refused("principal \"a\" { keys-max = 1 }\n", 1, "keys-max");
}
END_TEST

START_TEST(limit_on_what_the_rule_does_not_allow_is_refused) {
    refused(RULE("sign, rotate, delete", "keys-max = 1"), 2, "none of create, import and adopt");
    refused(RULE("create, import, adopt", "versions-max = 2"), 2, "not rotate");
    refused(A "allow \"a\" { operations = {random} keys-max = 1 }\n", 2, "keys-max");
    refused(A "allow \"a\" { operations = {random} versions-max = 2 }\n", 2, "versions-max");
    ck_assert_err(read_text(RULE("create", "keys-max = 1")), KD_OK);
    ck_assert_err(read_text(RULE("import", "keys-max = 1000000")), KD_OK);
    ck_assert_err(read_text(RULE("adopt", "keys-max = 1")), KD_OK);
    ck_assert_err(read_text(RULE("rotate", "versions-max = 2")), KD_OK);
    ck_assert_err(read_text(RULE("rotate", "versions-max = 1000")), KD_OK);
    ck_assert_err(read_text(RULE("\"*\"", "keys-max = 1 versions-max = 2")), KD_OK);
}
END_TEST

START_TEST(token_that_is_not_a_hash_is_refused_and_not_repeated) {
    refused("principal \"a\" {\n token = \"hunter2\"\n}\n", 2, "sha256");
    ck_assert_ptr_null(strstr(kd_buf_get_text(&tf.errors), "hunter2"));
    refused("principal \"a\" {\n token = \"sha256:abcd\"\n}\n", 2, "64");
    refused("principal \"a\" {\n certificate = \"sha256:zz\"\n}\n", 2, "64");
}
END_TEST

static const struct kd_principal *peer(uid_t uid, gid_t gid) {
    const struct kd_credential c = { .has_peer = true, .uid = uid, .gid = gid };
    return kd_policy_identify(policy, &c);
}

static const char *name_of(const struct kd_principal *who) {
    return who == NULL ? "nobody" : kd_principal_name(who);
}

#define TEST_HASH                                                                                  \
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" // "test"

static const char people[] = "principal \"first\" { uid = {1, 2} }\n"
                             "principal \"second\" { uid = 2 gid = 50 }\n"
                             "principal \"robot\" { token = \"" TEST_HASH "\" }\n"
                             "principal \"device\" { certificate = \"" TEST_HASH "\" }\n";

START_TEST(callers_that_are_not_named_are_nobody) {
    ck_assert_err(read_text(people), KD_OK);
    const struct kd_credential nothing = { .has_peer = false };
    ck_assert_ptr_null(kd_policy_identify(policy, &nothing));
    ck_assert_ptr_null(peer(0, 0));
    ck_assert_ptr_null(peer(3, 51));
    // uid and gid 0 of a connection without a peer mean nothing.
    ck_assert_err(read_text("principal \"root\" { uid = 0 }"), KD_OK);
    ck_assert_ptr_null(kd_policy_identify(policy, &nothing));
}
END_TEST

START_TEST(supplementary_group_is_as_good_as_the_first) {
    static const gid_t with[] = { 7, 50 };
    static const gid_t without[] = { 7, 51, 2 }; // 2 is a uid
    ck_assert_err(read_text(people), KD_OK);
    struct kd_credential c = { .has_peer = true, .uid = 3, .gid = 51, .groups = with };
    ck_assert_ptr_null(kd_policy_identify(policy, &c)); // none of them is said to be there
    c.n_groups = 2;
    ck_assert_str_eq(name_of(kd_policy_identify(policy, &c)), "second");
    c.has_peer = false;
    ck_assert_ptr_null(kd_policy_identify(policy, &c));
    c = (struct kd_credential) {
        .has_peer = true, .uid = 3, .gid = 51, .groups = without, .n_groups = 3
    };
    ck_assert_ptr_null(kd_policy_identify(policy, &c));
}
END_TEST

START_TEST(wrong_token_decides_alone) {
    ck_assert_err(read_text(people), KD_OK);
    static const char *const wrong[] = { "tes", "test ", "Test", "x" };
    for (size_t i = 0; i < KD_COUNT_OF(wrong); i++) {
        const struct kd_credential c = { .has_peer = true,
                                         .uid = 1,
                                         .bearer = kd_bytes_of_text(wrong[i]) };
        ck_assert_ptr_null(kd_policy_identify(policy, &c));
    }
}
END_TEST

START_TEST(wrong_certificate_decides_alone) {
    ck_assert_err(read_text(people), KD_OK);
    uint8_t hash[32] = { 0x9f, 0x86 };
    const struct kd_credential c = { .has_peer = true, .uid = 1, .certificate = { hash, 32 } };
    ck_assert_ptr_null(kd_policy_identify(policy, &c));
    const struct kd_credential cut = { .has_peer = true, .uid = 1, .certificate = { hash, 31 } };
    ck_assert_ptr_null(kd_policy_identify(policy, &cut));
}
END_TEST

START_TEST(callers_are_recognised_by_the_strongest_that_they_show) {
    ck_assert_err(read_text(people), KD_OK);
    ck_assert_str_eq(name_of(peer(1, 9)), "first");
    ck_assert_str_eq(name_of(peer(2, 9)), "first"); // the first in the file
    ck_assert_str_eq(name_of(peer(7, 50)), "second");
    uint8_t hash[32];
    ck_assert_err(kd_hex_decode(&TEST_HASH[7], hash, 32), KD_OK);
    struct kd_credential c = { .has_peer = true, .uid = 1, .certificate = { hash, 32 } };
    ck_assert_str_eq(name_of(kd_policy_identify(policy, &c)), "device");
    c.bearer = kd_bytes_of_text("test");
    ck_assert_str_eq(name_of(kd_policy_identify(policy, &c)), "robot");
}
END_TEST

START_TEST(what_is_not_allowed_is_denied) {
    ck_assert_err(read_text("principal \"a\" { uid = 1 }\nprincipal \"b\" { uid = 2 }\n"
                            "allow \"a\" { operations = {sign, verify} keys = {\"orders-*\"} }\n"
                            "allow \"a\" { operations = {mac} keys = {\"k1\", \"k?x\"} }\n"
                            "allow \"a\" { operations = {random} }\n"),
                  KD_OK);
    const struct kd_principal *a = peer(1, 1);
    const struct kd_principal *b = peer(2, 2);
    for (unsigned p = 0; p < KD_PERMISSIONS; p++) {
        ck_assert(!kd_principal_may(b, (enum kd_permission)p, "orders-1"));
        ck_assert(!kd_principal_may(b, (enum kd_permission)p, NULL));
    }
    ck_assert(!kd_principal_may(a, KD_MAY_SIGN, "orders"));
    ck_assert(!kd_principal_may(a, KD_MAY_SIGN, "k1"));
    ck_assert(!kd_principal_may(a, KD_MAY_SIGN, "Orders-1"));
    ck_assert(!kd_principal_may(a, KD_MAY_SIGN, NULL));
    ck_assert(!kd_principal_may(a, KD_MAY_MAC, "orders-1"));
    ck_assert(!kd_principal_may(a, KD_MAY_MAC_VERIFY, "k1"));
    ck_assert(!kd_principal_may(a, KD_MAY_MAC, "k11"));
    ck_assert(!kd_principal_may(a, KD_MAY_SHOW, "orders-1"));
    ck_assert(!kd_principal_may(a, KD_MAY_STATUS, NULL));
    ck_assert(kd_principal_may(a, KD_MAY_SIGN, "orders-1"));
    ck_assert(kd_principal_may(a, KD_MAY_VERIFY, "orders-"));
    ck_assert(kd_principal_may(a, KD_MAY_MAC, "k1"));
    ck_assert(kd_principal_may(a, KD_MAY_MAC, "k1x"));
    ck_assert(kd_principal_may(a, KD_MAY_RANDOM, NULL));
}
END_TEST

START_TEST(rules_that_allow_it_are_told_one_by_one_with_their_limits) {
    ck_assert_err(
        read_text(A "principal \"b\" { uid = 2 }\n"
                    "allow \"a\" { operations = {create, rotate} keys = {\"k\"} keys-max = 5 }\n"
                    "allow \"b\" { operations = {\"*\"} keys = {\"*\"} keys-max = 9 }\n"
                    "allow \"a\" { operations = {import} keys = {\"*\"} }\n"
                    "allow \"a\" { operations = {\"*\"} keys = {\"x\", \"k*\"}\n"
                    "            keys-max = 7 versions-max = 3 }\n"),
        KD_OK);
    const struct kd_principal *a = peer(1, 1);
    const struct kd_rule *first = kd_principal_rule(a, KD_MAY_CREATE, "k", NULL);
    const struct kd_rule *second = kd_principal_rule(a, KD_MAY_CREATE, "k", first);
    ck_assert_ptr_null(kd_principal_rule(a, KD_MAY_CREATE, "k", second));
    ck_assert_ptr_null(kd_principal_rule(a, KD_MAY_CREATE, "y", NULL));
    ck_assert_ptr_eq(kd_principal_rule(a, KD_MAY_CREATE, "kk", NULL), second);
    ck_assert_uint_eq(kd_rule_max(first, KD_MAY_CREATE), 5);
    ck_assert_uint_eq(kd_rule_max(first, KD_MAY_ROTATE), 0); // none is said
    ck_assert_uint_eq(kd_rule_max(second, KD_MAY_CREATE), 7);
    ck_assert_uint_eq(kd_rule_max(second, KD_MAY_IMPORT), 7);
    ck_assert_uint_eq(kd_rule_max(second, KD_MAY_ADOPT), 7);
    ck_assert_uint_eq(kd_rule_max(second, KD_MAY_ROTATE), 3);
    ck_assert_uint_eq(kd_rule_max(second, KD_MAY_SIGN), 0);
    ck_assert(kd_rule_has(first, "k") && !kd_rule_has(first, "kk"));
    ck_assert(kd_rule_has(second, "x") && kd_rule_has(second, "k") && !kd_rule_has(second, "y"));
}
END_TEST

START_TEST(star_allows_every_operation) {
    ck_assert_err(read_text("principal \"a\" { uid = 1 }\n"
                            "allow \"a\" { operations = \"*\" keys = \"*\" }\n"),
                  KD_OK);
    for (unsigned p = 0; p < KD_PERMISSIONS; p++) {
        ck_assert(kd_principal_may(peer(1, 1), (enum kd_permission)p, "k"));
    }
}
END_TEST

START_TEST(names_of_permissions_are_read_back) {
    enum kd_permission p;
    ck_assert(!kd_permission_parse("", &p));
    ck_assert(!kd_permission_parse("*", &p));
    ck_assert(!kd_permission_parse("Sign", &p));
    for (unsigned i = 0; i < KD_PERMISSIONS; i++) {
        ck_assert(kd_permission_parse(kd_permission_name((enum kd_permission)i), &p));
        ck_assert_uint_eq(p, i);
    }
    ck_assert_str_eq(kd_permission_name((enum kd_permission)KD_PERMISSIONS), "?");
}
END_TEST

START_TEST(accounts_of_this_machine_are_resolved) {
    ck_assert_err(
        read_text("principal \"r\" { user = root }\nprincipal \"d\" { group = {daemon} }"), KD_OK);
    ck_assert_str_eq(name_of(peer(0, 12345)), "r");
    ck_assert_str_eq(name_of(peer(12345, 1)), "d");
}
END_TEST

static TCase *tcase_policy(void) {
    TCase *t = tcase_create("policy");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, broken_policies_are_refused_with_their_place);
    tcase_add_test(t, limits_that_are_none_are_refused);
    tcase_add_test(t, limit_on_what_the_rule_does_not_allow_is_refused);
    tcase_add_test(t, token_that_is_not_a_hash_is_refused_and_not_repeated);
    tcase_add_test(t, callers_that_are_not_named_are_nobody);
    tcase_add_test(t, supplementary_group_is_as_good_as_the_first);
    tcase_add_test(t, wrong_token_decides_alone);
    tcase_add_test(t, wrong_certificate_decides_alone);
    tcase_add_test(t, callers_are_recognised_by_the_strongest_that_they_show);
    tcase_add_test(t, what_is_not_allowed_is_denied);
    tcase_add_test(t, rules_that_allow_it_are_told_one_by_one_with_their_limits);
    tcase_add_test(t, star_allows_every_operation);
    tcase_add_test(t, names_of_permissions_are_read_back);
    tcase_add_test(t, accounts_of_this_machine_are_resolved);
    return t;
}

UNIT_MAIN("policy", tcase_policy())
