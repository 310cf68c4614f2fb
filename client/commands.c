// SPDX-License-Identifier: Apache-2.0
// commands.c: the table of keydctl's commands and their options.  The man page
// (docs/keydctl.1) is held against it by tests/unit/test_commands.c.
#include "client/ctl.h"

#define END_OF_OPTIONS                                                                             \
    { NULL, NULL, NULL }

// clang-format off
const struct kd_option kd_global_options[] = {
    { "config", "FILE", "keyd.conf of the set-up to talk to" },
    { "socket", "PATH", "the Unix socket of keyd" },
    { "url", "URL", "https://host:port instead of the socket" },
    { "token-file", "FILE", "file with a bearer token" },
    { "cert", "FILE", "client certificate (PEM), for --url" },
    { "key", "FILE", "its private key (PEM)" },
    { "ca", "FILE", "CA certificates that keyd's may come from (PEM)" },
    { "json", NULL, "print what keyd answers, for programs" },
    { "help", NULL, "say what a command does" },
    END_OF_OPTIONS,
};

#define OPTION_IN { "in", "FILE", "the data; standard input where it is not given" }
#define OPTION_OUT { "out", "FILE", "where the result goes; standard output where it is not given" }
#define OPTION_VERSION { "version", "N", "version of the key" }
#define OPTION_SECRET { "secret", "ID", "a derived secret, in place of the NAME of a key" }
#define OPTION_FORMAT { "format", "FORM", "base64 (base64url, the default), hex or raw" }
#define OPTION_FORMAT_DER { "format", "FORM", "base64 (base64url, the default), hex, raw or der" }

static const struct kd_option init_options[] = {
    { "dir", "DIR", "put everything into this folder" },
    { "module", "FILE", "the PKCS#11 module; SoftHSM where it is not given" },
    { "label", "TEXT", "label of the new token (keyd)" },
    { "keys", NULL, "make first keys, with the daemon of this set-up running" },
    { "channel", NULL, "set up the secure channel, with the daemon of this set-up running" },
    { "no-token", NULL, "write the files only: the token is there already" },
    { "user", "USER", "for a service that systemd starts as USER (keyd.service: keyd)" },
    { "programs", "DIR", "where keyd and keyd-hsm are, if not where they are installed" },
    END_OF_OPTIONS,
};
static const struct kd_option create_options[] = {
    { "type", "TYPE", "ec-p256, ec-p384, hmac-sha256, hmac-sha384 or aes-256" },
    { "usage", "USE[,USE]", "sign, verify, encrypt, decrypt, derive" },
    END_OF_OPTIONS,
};
static const struct kd_option show_options[] = {
    { "pem", NULL, "print the public key only, in PEM" }, OPTION_VERSION, OPTION_OUT,
    END_OF_OPTIONS,
};
static const struct kd_option version_options[] = { OPTION_VERSION, END_OF_OPTIONS };
#define OPTION_YES { "yes", NULL, "do not ask" }
static const struct kd_option device_list_options[] = {
    { "state", "STATE", "those alone that are enrolled, active or revoked" },
    END_OF_OPTIONS,
};
static const struct kd_option revoke_options[] = { OPTION_YES, END_OF_OPTIONS };
static const struct kd_option delete_options[] = {
    { "version", "N", "this version alone" },
    OPTION_YES,
    END_OF_OPTIONS,
};
static const struct kd_option adopt_options[] = {
    { "uri", "URI", "PKCS#11 URI (RFC 7512) of one key in the token" },
    END_OF_OPTIONS,
};
static const struct kd_option rotate_options[] = {
    { "uri", "URI", "take the key in the token with this PKCS#11 URI (RFC 7512), and make none" },
    END_OF_OPTIONS,
};
static const struct kd_option import_options[] = {
    { "pem", "FILE", "public key or certificate (PEM), or a JWK; standard input where it is not given" },
    END_OF_OPTIONS,
};
static const struct kd_option sign_options[] = {
    OPTION_IN, OPTION_OUT, OPTION_FORMAT_DER, OPTION_VERSION,
    { "digest", NULL, "the data is the digest already" },
    END_OF_OPTIONS,
};
static const struct kd_option verify_options[] = {
    OPTION_IN, OPTION_FORMAT_DER, OPTION_VERSION,
    { "signature", "TEXT", "the signature" },
    { "signature-file", "FILE", "or a file with it" },
    { "digest", NULL, "the data is the digest already" },
    END_OF_OPTIONS,
};
static const struct kd_option audit_verify_options[] = {
    { "offline", NULL, "do not ask keyd: neither for its seals nor for its last line" },
    END_OF_OPTIONS,
};
static const struct kd_option mac_options[] = {
    OPTION_IN, OPTION_OUT, OPTION_FORMAT, OPTION_VERSION, OPTION_SECRET, END_OF_OPTIONS,
};
static const struct kd_option mac_verify_options[] = {
    OPTION_IN, OPTION_FORMAT, OPTION_VERSION, OPTION_SECRET,
    { "mac", "TEXT", "the MAC" },
    { "mac-file", "FILE", "or a file with it" },
    END_OF_OPTIONS,
};

#define DERIVE_OPTIONS                                                                             \
    { "kdf", "KDF", "aes-cbc-data (stays in the token), hkdf-sha256 or hkdf-sha384" },             \
    { "info", "TEXT", "what the derived key is for" },                                             \
    { "info-file", "FILE", "or a file with it" },                                                  \
    { "salt", "TEXT", "HKDF's salt" },                                                             \
    { "salt-file", "FILE", "or a file with it" },                                                  \
    { "type", "TYPE", "of the secret: aes-256 (the default), hmac-sha256 or hmac-sha384" },        \
    { "lifetime", "SECONDS", "how long the secret lives" },                                        \
    { "release", NULL, "give the bytes to the caller, where policy allows it" },                   \
    { "length", "N", "bytes to release (HKDF)" },                                                  \
    OPTION_VERSION, OPTION_OUT, OPTION_FORMAT
static const struct kd_option ecdh_options[] = {
    { "peer", "FILE", "the other side's public key: PEM, certificate or JWK" },
    DERIVE_OPTIONS,
    END_OF_OPTIONS,
};
static const struct kd_option derive_options[] = {
    DERIVE_OPTIONS, OPTION_SECRET, END_OF_OPTIONS,
};
static const struct kd_option encrypt_options[] = {
    OPTION_IN, OPTION_OUT, OPTION_VERSION, OPTION_SECRET,
    { "aad", "TEXT", "bound to the result, not part of it; decrypt needs the same" },
    END_OF_OPTIONS,
};
static const struct kd_option decrypt_options[] = {
    OPTION_IN, OPTION_OUT, OPTION_SECRET,
    { "aad", "TEXT", "as it was given to encrypt" },
    END_OF_OPTIONS,
};
static const struct kd_option rewrap_options[] = {
    OPTION_IN, OPTION_OUT,
    { "aad", "TEXT", "as it was given to encrypt" },
    END_OF_OPTIONS,
};
static const struct kd_option random_options[] = { OPTION_FORMAT, OPTION_OUT, END_OF_OPTIONS };
static const struct kd_option doctor_options[] = {
    { "programs", "DIR", "where keyd and keyd-hsm are, if not where they are installed" },
    END_OF_OPTIONS,
};
static const struct kd_option token_list_options[] = {
    { "module", "PATH", "the PKCS#11 module; without it the one of keyd.conf, or those of p11-kit" },
    { "init-args", "TEXT", "for the module, as token.init-args of keyd.conf" },
    { "programs", "DIR", "where keyd-hsm is, if not where it is installed" },
    END_OF_OPTIONS,
};
static const struct kd_option bench_options[] = {
    { "seconds", "S", "for each row (3)" },
    { "connections", "N", "keep-alive connections at once (16)" },
    { "programs", "DIR", "where keyd-hsm is, if not where it is installed" },
    END_OF_OPTIONS,
};
static const struct kd_option peer_add_options[] = {
    { "pem", "FILE", "certificate or public key (PEM), or a JWK; standard input where it is not given" },
    { "kid", "HEX", "how the peer names its key, 1 to 16 bytes; a public key alone needs it" },
    { "uri", "URI", "where the peer's certificate is, as the peer says it" },
    END_OF_OPTIONS,
};
static const struct kd_option peer_show_options[] = {
    { "pem", NULL, "print the certificate only, in PEM" }, OPTION_OUT,
    END_OF_OPTIONS,
};
static const struct kd_option record_key_options[] = { OPTION_OUT, END_OF_OPTIONS };
static const struct kd_option handshake_options[] = { OPTION_IN, OPTION_OUT, END_OF_OPTIONS };
static const struct kd_option seal_options[] = {
    { "lines", NULL, "each line is a message, and each record comes out as a line of base64url" },
    OPTION_IN, OPTION_OUT, END_OF_OPTIONS,
};
static const struct kd_option open_options[] = {
    { "lines", NULL, "each line is a record in base64url, and each message comes out as a line" },
    OPTION_IN, OPTION_OUT, END_OF_OPTIONS,
};
static const struct kd_option envelope_key_options[] = { OPTION_OUT, END_OF_OPTIONS };
static const struct kd_option envelope_seal_options[] = {
    { "to", "FILE", "the recipient's public key, as keydctl envelope key prints it; else keyd is asked" },
    { "sender", "TEXT", "who you say you are; nobody checks it" },
    { "validity", "SECONDS", "until it expires (3600, or fewer if keyd takes fewer)" },
    OPTION_IN, OPTION_OUT, END_OF_OPTIONS,
};
static const struct kd_option envelope_open_options[] = { OPTION_IN, OPTION_OUT, END_OF_OPTIONS };
static const struct kd_option ca_init_options[] = {
    { "subject", "TEXT", "common name of the CA; the server's id where it is not given" },
    { "type", "TYPE", "of the key, if it is not there yet: ec-p256 (the default) or ec-p384" },
    { "request", NULL, "a request for a CA above, in place of a certificate signed by itself" },
    { "again", NULL, "also where the CA has a certificate" }, OPTION_OUT,
    END_OF_OPTIONS,
};
static const struct kd_option ca_show_options[] = {
    { "pem", NULL, "print the certificates only, in PEM" }, OPTION_OUT,
    END_OF_OPTIONS,
};
static const struct kd_option out_options[] = { OPTION_OUT, END_OF_OPTIONS };

#define OPTION_LIFETIME { "lifetime", "SECONDS", "how long the one-time secret is good" }
#define OPTION_SECRET_OUT { "out", "FILE", "new file for the secret alone, mode 0600" }
static const struct kd_option enroll_options[] = {
    { "relation", "ID", "of what is between device and server; it is in the certificate" },
    { "usage", "USE", "sign (the default) or agree (static Diffie-Hellman)" },
    OPTION_LIFETIME, OPTION_SECRET_OUT, END_OF_OPTIONS,
};
static const struct kd_option renew_options[] = { OPTION_LIFETIME, OPTION_SECRET_OUT, END_OF_OPTIONS };

#define OPTION_DEVICE_DIR { "dir", "DIR", "the device's files" }
#define OPTION_SERVER { "server", "URL", "its gateway: tcp://, udp:// or http://HOST:PORT" }
#define OPTION_TIMEOUT { "timeout", "MS", "for an answer (30000)" }
#define OPTION_TRACE { "trace", NULL, "print each frame to standard error" }
static const struct kd_option provision_options[] = {
    { "bootstrap", "URL", "its bootstrap server, https://HOST:PORT; --ca says whom to trust" },
    { "secret-file", "FILE", "the one-time secret, in the first line of a file that others cannot read" },
    { "dir", "DIR", "where its key, certificate and the server's go" },
    END_OF_OPTIONS,
};
static const struct kd_option connect_options[] = {
    OPTION_DEVICE_DIR, OPTION_SERVER, OPTION_TIMEOUT, END_OF_OPTIONS,
};
static const struct kd_option send_options[] = {
    OPTION_DEVICE_DIR, OPTION_SERVER, OPTION_IN, OPTION_OUT, OPTION_TIMEOUT, OPTION_TRACE,
    { "lines", NULL, "each line of standard input is a message, all in one session" },
    { "envelope", NULL, "sealed to the server's key, without a session; nothing is answered" },
    { "sender", "TEXT", "who an envelope says it is from; nobody checks it" },
    END_OF_OPTIONS,
};
static const struct kd_option listen_options[] = {
    OPTION_DEVICE_DIR, OPTION_SERVER, OPTION_TIMEOUT, OPTION_TRACE,
    { "count", "N", "end after so many messages" },
    END_OF_OPTIONS,
};
static const struct kd_option demo_options[] = {
    { "programs", "DIR", "where keyd, keyd-hsm and keyd-gateway are, if not where they are installed" },
    END_OF_OPTIONS,
};
static const struct kd_option token_options[] = {
    { "out", "FILE", "new file for the token, mode 0600; standard output where it is not given" },
    END_OF_OPTIONS,
};

const struct kd_command kd_commands[] = {
    { "init", "", 0, 0, init_options, "make a complete set-up: token, PINs, configuration, policy",
      "For root it goes to the system's folders, for a user to ~/.local/share/keyd, or all into\n"
      "--dir. Nothing that is there is overwritten. It starts nothing; it says what to do next.",
      kd_cmd_init, .is_offline = true },
    { "doctor", "", 0, 0, doctor_options, "look at the whole set-up and say what is wrong and what to do",
      "Ends with 0 when all is well, else 1.", kd_cmd_doctor },
    { "status", "", 0, 0, NULL, "is keyd ready, and what does it say of itself",
      "Ends with 1 when keyd runs and is not ready.", kd_cmd_status },
    { "backup", "", 0, 0, NULL, "make a copy of keyd's registry, while keyd runs",
      "It is backup.db in keyd's state-directory, in the place of the one before.", kd_cmd_backup },
    { "audit status", "", 0, 0, NULL, "how far the audit log has come, and can it be written",
      "Ends with 1 while it cannot be written.", kd_cmd_audit_status },
    { "audit verify", "FILE...", 1, KD_WORDS_MAX, audit_verify_options, "was a line of the audit log changed, removed, put in or moved",
      "Give all its files that there are, in any order. Ends with 1 where a line is not good.", kd_cmd_audit_verify },
    { "key create", "NAME", 1, 1, create_options, "make a key in the token",
      "EC keys have either sign or derive. HMAC keys: sign, verify, derive. AES keys: encrypt,\n"
      "decrypt, derive.  Example: keydctl key create orders --type ec-p256 --usage sign", kd_cmd_key_create },
    { "key list", "", 0, 0, NULL, "list the keys that you may see", "", kd_cmd_key_list },
    { "key show", "NAME", 1, 1, show_options, "show a key with its versions, or its public key", "", kd_cmd_key_show },
    { "key rotate", "NAME", 1, 1, rotate_options, "make a new version, used from now on",
      "Older versions go on to verify and decrypt until they are disabled.  With --uri the version is\n"
      "one that is in the token already: what another node made, see docs/operation.md.", kd_cmd_key_rotate },
    { "key disable", "NAME", 1, 1, version_options, "use a version (or all) no more", "", kd_cmd_key_disable },
    { "key enable", "NAME", 1, 1, version_options, "use a version (or all) again", "", kd_cmd_key_enable },
    { "key delete", "NAME", 1, 1, delete_options, "destroy a key, or one version of it, in the token, for ever",
      "Versions that were adopted are only forgotten, their objects stay in the token.  The primary\n"
      "version, and the last one, cannot be deleted alone: rotate the key first, or delete it.", kd_cmd_key_delete },
    { "key adopt", "NAME", 1, 1, adopt_options, "use a key that is in the token already", "", kd_cmd_key_adopt },
    { "key import", "NAME", 1, 1, import_options, "bring a public key or a certificate, to verify with",
      "A private key is not sent anywhere; keyd makes private keys in the token.", kd_cmd_key_import },
    { "sign", "NAME", 1, 1, sign_options, "sign data with an EC key (ECDSA)",
      "The signature is r then s; --format der is the form that openssl(1) has.\n"
      "More than 3 MB: openssl dgst -sha256 -binary FILE | keydctl sign NAME --digest", kd_cmd_sign },
    { "verify", "NAME", 1, 1, verify_options, "check a signature; ends with 1 when it is not valid", "", kd_cmd_verify },
    { "mac", "[NAME]", 0, 1, mac_options, "make a MAC with an HMAC key or secret", "", kd_cmd_mac },
    { "mac-verify", "[NAME]", 0, 1, mac_verify_options, "check a MAC; ends with 1 when it is not valid", "", kd_cmd_mac_verify },
    { "ecdh", "NAME", 1, 1, ecdh_options, "agree on a secret with another's public key",
      "The secret stays in the token; its id is printed, for mac, encrypt, decrypt and derive.", kd_cmd_ecdh },
    { "derive", "[NAME]", 0, 1, derive_options, "derive a secret from a key or from a secret", "", kd_cmd_derive },
    { "secret list", "", 0, 0, NULL, "list the secrets that you derived", "", kd_cmd_secret_list },
    { "secret show", "ID", 1, 1, NULL, "show what is known of a secret; never its value", "", kd_cmd_secret_show },
    { "secret delete", "ID", 1, 1, NULL, "end a secret before its time", "", kd_cmd_secret_delete },
    { "encrypt", "[NAME]", 0, 1, encrypt_options, "encrypt with an AES key or secret (AES-256-GCM)", "", kd_cmd_encrypt },
    { "decrypt", "[NAME]", 0, 1, decrypt_options, "decrypt what encrypt wrote",
      "Without a NAME or --secret, what the file itself names is used.", kd_cmd_decrypt },
    { "rewrap", "[NAME]", 0, 1, rewrap_options, "encrypt what encrypt wrote anew, with the key's primary version",
      "The text is not shown to anybody.  Without a NAME the key that the file names is used.", kd_cmd_rewrap },
    { "random", "N", 1, 1, random_options, "N random bytes from the token", "", kd_cmd_random },
    { "peer add", "NAME", 1, 1, peer_add_options, "let a device or server make sessions on the secure channel",
      "It proves itself with the private key of this certificate or public key.", kd_cmd_peer_add },
    { "peer list", "", 0, 0, NULL, "list the peers of the secure channel", "", kd_cmd_peer_list },
    { "peer show", "NAME", 1, 1, peer_show_options, "show a peer, or its certificate", "", kd_cmd_peer_show },
    { "peer delete", "NAME", 1, 1, NULL, "let a peer in no more, and end its sessions", "", kd_cmd_peer_delete },
    { "handshake begin", "", 0, 0, handshake_options, "take a peer's first message, and write the answer to it",
      "The id of the handshake is said beside, for keydctl handshake step.", kd_cmd_handshake_begin },
    { "handshake step", "ID", 1, 1, handshake_options, "take a peer's next message; at the end there is a session", "", kd_cmd_handshake_step },
    { "handshake delete", "ID", 1, 1, NULL, "drop a handshake that is not finished", "", kd_cmd_handshake_delete },
    { "session list", "", 0, 0, NULL, "list your sessions on the secure channel", "", kd_cmd_session_list },
    { "session show", "ID", 1, 1, NULL, "show what is known of a session; never its keys", "", kd_cmd_session_show },
    { "session delete", "ID", 1, 1, NULL, "end a session; its peer is not told", "", kd_cmd_session_delete },
    { "session ticket", "ID", 1, 1, record_key_options, "write the ticket that another node can continue the session from", "", kd_cmd_session_ticket },
    { "session update", "ID", 1, 1, record_key_options, "renew the session's keys, and write the record that tells the peer", "", kd_cmd_session_update },
    { "session release", "ID", 1, 1, record_key_options, "take over the session's traffic keys, once, where policy allows it",
      "For a message server that seals and opens by itself; keyd does not any more.", kd_cmd_session_release },
    { "session seal", "ID", 1, 1, seal_options, "seal a message for the session's peer",
      "With --lines many in one batch; a line is \"-\" where one was refused.", kd_cmd_session_seal },
    { "session open", "", 0, 0, open_options, "open a record, once; it says of which session it is",
      "With --lines many in one batch; a line is \"-\" where one was refused.", kd_cmd_session_open },
    { "envelope key", "", 0, 0, envelope_key_options, "print the public key that envelopes are sealed to", "", kd_cmd_envelope_key },
    { "envelope seal", "", 0, 0, envelope_seal_options, "seal data to keyd's key; with --to without keyd",
      "For who has no session yet.  It proves nothing of who sent it.", kd_cmd_envelope_seal, .is_offline = true },
    { "envelope open", "", 0, 0, envelope_open_options, "open an envelope, once", "", kd_cmd_envelope_open },
    { "ca init", "", 0, 0, ca_init_options, "make the CA of the bootstrap server: its key and certificate",
      "The section ca of keyd.conf names the key. The certificate signs itself, or --request makes\n"
      "a request (PKCS #10) for a CA above.", kd_cmd_ca_init },
    { "ca show", "", 0, 0, ca_show_options, "show the CA, or its certificates", "", kd_cmd_ca_show },
    { "server-cert", "", 0, 0, out_options, "make a certificate of the channel's identity, from the CA", "", kd_cmd_server_cert },
    { "device enroll", "ID", 1, 1, enroll_options, "let a device enrol: make its one-time secret",
      "The device gives ID and secret to the bootstrap server (EST) with its own request.", kd_cmd_device_enroll },
    { "device list", "", 0, 0, device_list_options, "list the devices",
      "With --json the certificates too: that is the registry as a whole.", kd_cmd_device_list },
    { "device show", "ID", 1, 1, peer_show_options, "show a device, or its certificate", "", kd_cmd_device_show },
    { "device renew", "ID", 1, 1, renew_options, "make a new one-time secret, to enrol once more",
      "A device renews by itself with its certificate; this is for one that has lost it.", kd_cmd_device_renew },
    { "device revoke", "ID", 1, 1, revoke_options, "let a device in no more, for ever, and end its sessions", "", kd_cmd_device_revoke },
    { "device delete", "ID", 1, 1, revoke_options, "delete a device that is revoked and whose certificates have ended",
      "Its id is not given again.", kd_cmd_device_delete },
    { "device provision", "ID", 1, 1, provision_options, "be a device: make its key, have it certified",
      "It asks the bootstrap server, which made the one-time secret by keydctl device enroll.\n"
      "After a failure it can be run again.", kd_cmd_device_provision, .is_offline = true },
    { "device connect", "", 0, 0, connect_options, "be a device: try a handshake, and show its bytes", "",
      kd_cmd_device_connect, .is_offline = true },
    { "device send", "", 0, 0, send_options, "be a device: send a message, and print the answer",
      "Ends with 1 when the backend answered with an error.", kd_cmd_device_send, .is_offline = true },
    { "device listen", "", 0, 0, listen_options, "be a device: print the messages that the server sends unasked",
      "Each on a line, until it is stopped.", kd_cmd_device_listen, .is_offline = true },
    { "bench", "", 0, 0, bench_options, "measure your own token, through keyd and directly", "", kd_cmd_bench },
    { "demo", "[DIR]", 0, 1, demo_options, "show all of it: a CA, a device, its messages, a replay refused",
      "Everything is made in the new folder DIR (keyd-demo), by the commands that it prints. It\n"
      "talks on 127.0.0.1 only, and stops what it has started.", kd_cmd_demo, .is_offline = true },
    { "token new", "NAME", 1, 1, token_options, "make a bearer token for a principal",
      "Prints the lines for the policy file; they hold the token's hash, not the token.", kd_cmd_token_new, .is_offline = true },
    { "token list", "", 0, 0, token_list_options, "list the tokens of a PKCS#11 module, and how keyd.conf names them",
      "It needs neither a running keyd nor a PIN. The URI is for token.uri.", kd_cmd_token_list, .is_offline = true },
    { .name = NULL },
};
// clang-format on
