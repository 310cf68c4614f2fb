// SPDX-License-Identifier: Apache-2.0
// err_list.h: each error's name, class and sentence, for err.c and err_sentence.c, which are
// apart because a device's library has use for the sentences alone.  Names are part of the API:
// they never change.
#ifndef KD_BASE_ERR_LIST_H
#define KD_BASE_ERR_LIST_H

// clang-format off
#define KD_ERR_LIST(X) \
    X(KD_OK, "ok", KD_CLASS_OK, "Done.") \
    \
    X(KD_ERR_BAD_REQUEST, "bad-request", KD_CLASS_USAGE, "The request is not well formed.") \
    X(KD_ERR_BAD_JSON, "bad-json", KD_CLASS_USAGE, "The body is not valid JSON.") \
    X(KD_ERR_FIELD_MISSING, "field-missing", KD_CLASS_USAGE, "A member that is needed is missing.") \
    X(KD_ERR_FIELD_UNKNOWN, "field-unknown", KD_CLASS_USAGE, "The request has a member that this operation does not know.") \
    X(KD_ERR_FIELD_INVALID, "field-invalid", KD_CLASS_USAGE, "A member has a value that is not allowed.") \
    X(KD_ERR_BAD_BASE64, "bad-base64", KD_CLASS_USAGE, "A member is not base64url without padding.") \
    X(KD_ERR_BAD_NAME, "bad-name", KD_CLASS_USAGE, "A name is 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first.") \
    X(KD_ERR_BAD_URI, "bad-uri", KD_CLASS_USAGE, "The PKCS#11 URI is not valid (RFC 7512).") \
    X(KD_ERR_BAD_PUBLIC_KEY, "bad-public-key", KD_CLASS_USAGE, "This is not a public key or certificate of a kind that keyd uses (EC P-256 or P-384).") \
    X(KD_ERR_BAD_CSR, "bad-csr", KD_CLASS_USAGE, "This is not a certificate request for this name, with an EC P-256 or P-384 key and signed by it.") \
    X(KD_ERR_BATCH_EMPTY, "batch-empty", KD_CLASS_USAGE, "The batch has no items.") \
    X(KD_ERR_PRIVATE_KEY_IMPORT, "private-key-import", KD_CLASS_USAGE, "Private and secret keys are made in the token and cannot be imported.") \
    X(KD_ERR_CONFIG, "config", KD_CLASS_USAGE, "The configuration has an error.") \
    \
    X(KD_ERR_CBOR_TRUNCATED, "cbor-truncated", KD_CLASS_USAGE, "The CBOR data ends within an item.") \
    X(KD_ERR_CBOR_TRAILING, "cbor-trailing", KD_CLASS_USAGE, "Bytes follow behind the CBOR data.") \
    X(KD_ERR_CBOR_NOT_SHORTEST, "cbor-not-shortest", KD_CLASS_USAGE, "A CBOR number or length is not in its shortest form.") \
    X(KD_ERR_CBOR_INDEFINITE, "cbor-indefinite", KD_CLASS_USAGE, "A CBOR item has an indefinite length.") \
    X(KD_ERR_CBOR_RESERVED, "cbor-reserved", KD_CLASS_USAGE, "A CBOR head uses a reserved value.") \
    X(KD_ERR_CBOR_FLOAT, "cbor-float", KD_CLASS_USAGE, "CBOR floating-point numbers are not used here.") \
    X(KD_ERR_CBOR_SIMPLE, "cbor-simple", KD_CLASS_USAGE, "Of the CBOR simple values only false, true and null are used.") \
    X(KD_ERR_CBOR_UTF8, "cbor-utf8", KD_CLASS_USAGE, "A CBOR text is not valid UTF-8.") \
    X(KD_ERR_CBOR_MAP_ORDER, "cbor-map-order", KD_CLASS_USAGE, "The keys of a CBOR map are not in bytewise order.") \
    X(KD_ERR_CBOR_MAP_DUPLICATE, "cbor-map-duplicate", KD_CLASS_USAGE, "A CBOR map has a key twice.") \
    X(KD_ERR_CBOR_DEPTH, "cbor-depth", KD_CLASS_USAGE, "CBOR items are nested too deeply.") \
    X(KD_ERR_CBOR_TYPE, "cbor-type", KD_CLASS_USAGE, "A CBOR item is of another type than is due here.") \
    X(KD_ERR_CBOR_RANGE, "cbor-range", KD_CLASS_USAGE, "A CBOR number is out of the range that is used here.") \
    \
    X(KD_ERR_UNAUTHENTICATED, "unauthenticated", KD_CLASS_AUTH, "The caller is not known to the policy.") \
    X(KD_ERR_ENROLMENT, "enrolment", KD_CLASS_AUTH, "A one-time secret, or a certificate from here that is not revoked, is needed.") \
    X(KD_ERR_DENIED, "denied", KD_CLASS_POLICY, "The policy does not allow this to the caller.") \
    X(KD_ERR_CROSS_SITE, "cross-site", KD_CLASS_POLICY, "Requests that a page in a browser makes are not taken.") \
    \
    X(KD_ERR_NO_ROUTE, "no-such-route", KD_CLASS_MISSING, "There is nothing at this path.") \
    X(KD_ERR_NO_KEY, "no-such-key", KD_CLASS_MISSING, "There is no key of this name.") \
    X(KD_ERR_NO_VERSION, "no-such-version", KD_CLASS_MISSING, "The key has no such version.") \
    X(KD_ERR_NO_SECRET, "no-such-secret", KD_CLASS_MISSING, "There is no such secret, or it has expired.") \
    X(KD_ERR_NO_PEER, "no-such-peer", KD_CLASS_MISSING, "There is no peer of this name.") \
    X(KD_ERR_NO_DEVICE, "no-such-device", KD_CLASS_MISSING, "There is no device of this id.") \
    X(KD_ERR_NO_HANDSHAKE, "no-such-handshake", KD_CLASS_MISSING, "There is no such handshake, or its time is over; begin another.") \
    X(KD_ERR_NO_SESSION, "no-such-session", KD_CLASS_MISSING, "There is no such session here; resume it with its ticket or make a new handshake.") \
    X(KD_ERR_NO_OBJECT, "no-such-object", KD_CLASS_MISSING, "The token has no such object.") \
    X(KD_ERR_NO_FILE, "no-such-file", KD_CLASS_MISSING, "There is no such file.") \
    \
    X(KD_ERR_METHOD, "method-not-allowed", KD_CLASS_METHOD, "The path does not know this method.") \
    \
    X(KD_ERR_KEY_EXISTS, "key-exists", KD_CLASS_CONFLICT, "There is a key of this name already.") \
    X(KD_ERR_KEY_USAGE, "key-usage", KD_CLASS_CONFLICT, "The key was not made for this operation.") \
    X(KD_ERR_KEY_TYPE, "key-type", KD_CLASS_CONFLICT, "This operation is not for keys of this type.") \
    X(KD_ERR_VERSION_DISABLED, "version-disabled", KD_CLASS_CONFLICT, "The key, or this version of it, is disabled.") \
    X(KD_ERR_PUBLIC_ONLY, "public-only", KD_CLASS_CONFLICT, "Only the public part of this key is here.") \
    X(KD_ERR_OBJECT_AMBIGUOUS, "object-ambiguous", KD_CLASS_CONFLICT, "More than one object of the token matches.") \
    X(KD_ERR_OBJECT_UNFIT, "object-unfit", KD_CLASS_CONFLICT, "The object of the token is of a type or usage that keyd does not use.") \
    X(KD_ERR_OBJECT_CHANGED, "object-changed", KD_CLASS_CONFLICT, "The object in the token is not the key that was registered.") \
    X(KD_ERR_CHANGE_UNDER_WAY, "change-under-way", KD_CLASS_CONFLICT, "Another change of the same is under way; repeat the request in a moment.") \
    X(KD_ERR_HS_STATE, "handshake-state", KD_CLASS_CONFLICT, "The handshake is not at this step.") \
    X(KD_ERR_SEQUENCE_END, "sequence-end", KD_CLASS_CONFLICT, "The session has used all its sequence numbers; make a new handshake.") \
    X(KD_ERR_SESSION_EXPIRED, "session-expired", KD_CLASS_CONFLICT, "The session is at its limit; make a new handshake.") \
    X(KD_ERR_SESSION_ENDED, "session-ended", KD_CLASS_CONFLICT, "The session was ended, or is too old to know that it was not; make a new handshake.") \
    X(KD_ERR_SESSION_RELEASED, "session-released", KD_CLASS_CONFLICT, "The keys of the session were released: who has them seals and opens.") \
    X(KD_ERR_SESSION_RESIDENT, "session-resident", KD_CLASS_CONFLICT, "The keys of the session are in the token and stay there.") \
    X(KD_ERR_PEER_EXISTS, "peer-exists", KD_CLASS_CONFLICT, "There is a peer of this name, or with this credential, already.") \
    X(KD_ERR_DEVICE_EXISTS, "device-exists", KD_CLASS_CONFLICT, "There is a device of this id already.") \
    X(KD_ERR_DEVICE_REVOKED, "device-revoked", KD_CLASS_CONFLICT, "The device is revoked, for good.") \
    X(KD_ERR_DEVICE_NOT_REVOKED, "device-not-revoked", KD_CLASS_CONFLICT, "The device is not revoked: revoke it first.") \
    X(KD_ERR_DEVICE_CERTIFIED, "device-certified", KD_CLASS_CONFLICT, "A certificate of the device has not ended yet.") \
    X(KD_ERR_DEVICE_DELETED, "device-deleted", KD_CLASS_CONFLICT, "A device of this id was deleted: the id is not given again.") \
    X(KD_ERR_PEER_IS_DEVICE, "peer-is-device", KD_CLASS_CONFLICT, "The peer is a device of the bootstrap server: revoke it there.") \
    X(KD_ERR_KEY_RESERVED, "key-reserved", KD_CLASS_CONFLICT, "This key is for the secure channel, for certificates or for the audit log alone.") \
    X(KD_ERR_VERSION_PRIMARY, "version-primary", KD_CLASS_CONFLICT, "This is the key's primary version, or its last: rotate the key first, or delete the key.") \
    X(KD_ERR_VERSION_CERTIFIED, "version-certified", KD_CLASS_CONFLICT, "The certificate of this key is of this version, or cannot be read.") \
    \
    X(KD_ERR_HEADER_TOO_LARGE, "header-too-large", KD_CLASS_HEADER, "The header is larger than the server accepts.") \
    X(KD_ERR_BODY_TOO_LARGE, "body-too-large", KD_CLASS_TOO_LARGE, "The body is larger than the server accepts.") \
    X(KD_ERR_BATCH_TOO_LARGE, "batch-too-large", KD_CLASS_TOO_LARGE, "The batch has more than 1024 items.") \
    X(KD_ERR_ITEM_TOO_LARGE, "item-too-large", KD_CLASS_TOO_LARGE, "A value is longer than its limit.") \
    X(KD_ERR_TOO_MANY, "too-many", KD_CLASS_TOO_LARGE, "A limit on the number of these is reached.") \
    \
    X(KD_ERR_MEDIA_TYPE, "media-type", KD_CLASS_MEDIA, "The body must be application/json.") \
    \
    X(KD_ERR_BAD_POINT, "bad-point", KD_CLASS_REFUSED, "The peer's public key is not a point on the key's curve.") \
    X(KD_ERR_NOT_AUTHENTIC, "not-authentic", KD_CLASS_REFUSED, "The ciphertext, its iv or its aad is not what was encrypted with this key.") \
    X(KD_ERR_HS_MESSAGE, "handshake-message", KD_CLASS_REFUSED, "The handshake message is not of the form of RFC 9528.") \
    X(KD_ERR_HS_METHOD, "handshake-method", KD_CLASS_REFUSED, "The peer wants an authentication method that is not accepted here.") \
    X(KD_ERR_HS_SUITE, "handshake-suite", KD_CLASS_REFUSED, "The peer and we have not agreed on a cipher suite.") \
    X(KD_ERR_HS_CREDENTIAL, "handshake-credential", KD_CLASS_REFUSED, "The peer's credential is not known, not valid or not fit for this handshake.") \
    X(KD_ERR_HS_REFLECTED, "handshake-reflected", KD_CLASS_REFUSED, "The peer presents our own credential.") \
    X(KD_ERR_HS_EAD, "handshake-ead", KD_CLASS_REFUSED, "The peer sent critical external data that is not understood here.") \
    X(KD_ERR_HS_NOT_AUTHENTIC, "handshake-not-authentic", KD_CLASS_REFUSED, "The peer did not prove that it is who it says.") \
    X(KD_ERR_HS_PEER, "handshake-peer", KD_CLASS_REFUSED, "The peer ended the handshake with an error.") \
    X(KD_ERR_FRAME, "frame", KD_CLASS_USAGE, "The frame is not of a kind or length that the channel uses.") \
    X(KD_ERR_RECORD_FORM, "record-form", KD_CLASS_REFUSED, "The record is not of the form that the channel uses.") \
    X(KD_ERR_RECORD_SESSION, "record-session", KD_CLASS_REFUSED, "The record is not of this session.") \
    X(KD_ERR_RECORD_REPLAYED, "record-replayed", KD_CLASS_REFUSED, "The record has been received before.") \
    X(KD_ERR_RECORD_TOO_OLD, "record-too-old", KD_CLASS_REFUSED, "The record is older than the replay window.") \
    X(KD_ERR_RECORD_OTP, "record-otp", KD_CLASS_REFUSED, "The record's one-time password is not valid now.") \
    X(KD_ERR_ENVELOPE_FORM, "envelope-form", KD_CLASS_REFUSED, "The envelope is not of the form that keyd opens.") \
    X(KD_ERR_ENVELOPE_KEY, "envelope-key", KD_CLASS_REFUSED, "The envelope is for a key that is not here, or not enabled.") \
    X(KD_ERR_ENVELOPE_TIME, "envelope-time", KD_CLASS_REFUSED, "The envelope has expired, is from the future, or is valid for too long.") \
    X(KD_ERR_ENVELOPE_REPLAYED, "envelope-replayed", KD_CLASS_REFUSED, "The envelope was opened before.") \
    X(KD_ERR_TICKET, "ticket", KD_CLASS_REFUSED, "The ticket was not made with the ticket key of this token, or is broken.") \
    \
    X(KD_ERR_BUSY, "busy", KD_CLASS_BUSY, "Too much is under way now; repeat the request later.") \
    X(KD_ERR_HS_RETRY, "handshake-retry", KD_CLASS_BUSY, "Many handshakes are under way; the peer sends message_1 again, with the cookie.") \
    X(KD_ERR_SESSIONS_FULL, "sessions-full", KD_CLASS_BUSY, "As many sessions as may be are held; some end in time.") \
    X(KD_ERR_STOPPING, "stopping", KD_CLASS_BUSY, "The service is stopping.") \
    X(KD_ERR_AUDIT, "audit", KD_CLASS_BUSY, "The audit log cannot be written, and what it must hold is not done without it.") \
    \
    X(KD_ERR_TOKEN_AWAY, "token-away", KD_CLASS_AWAY, "The token cannot be used now; the service keeps trying.") \
    X(KD_ERR_NO_MODULE, "no-module", KD_CLASS_AWAY, "The PKCS#11 module cannot be loaded.") \
    X(KD_ERR_NO_TOKEN, "no-token", KD_CLASS_AWAY, "The configured token is not there.") \
    X(KD_ERR_PIN_MISSING, "pin-missing", KD_CLASS_AWAY, "The PIN cannot be read.") \
    X(KD_ERR_PIN_REFUSED, "pin-refused", KD_CLASS_AWAY, "The token refused the PIN; it is not tried again until it is changed.") \
    X(KD_ERR_PIN_LAST_TRY, "pin-last-try", KD_CLASS_AWAY, "The token is locked or on its last PIN try and is left alone.") \
    X(KD_ERR_OWN_CERTIFICATE, "own-certificate", KD_CLASS_AWAY, "keyd's own certificate, or its CA's, cannot be used now; its log says why.") \
    \
    X(KD_ERR_TOKEN, "token", KD_CLASS_TOKEN, "The token answered with an error.") \
    X(KD_ERR_TOKEN_FULL, "token-full", KD_CLASS_TOKEN, "The token has no room for more objects or sessions.") \
    X(KD_ERR_SESSION_LOST, "session-lost", KD_CLASS_TOKEN, "The token closed the session.") \
    X(KD_ERR_DEVICE, "device-error", KD_CLASS_TOKEN, "The token reports an error of its device, which answers otherwise.") \
    \
    X(KD_ERR_LACKING, "token-lacks", KD_CLASS_LACKING, "This token cannot do this.") \
    \
    X(KD_ERR_DEADLINE, "deadline", KD_CLASS_DEADLINE, "The token did not answer in time.") \
    \
    X(KD_ERR_NO_MEMORY, "no-memory", KD_CLASS_SYSTEM, "There is not enough memory.") \
    X(KD_ERR_SYSTEM, "system", KD_CLASS_SYSTEM, "The operating system refused a call.") \
    X(KD_ERR_STORE, "store", KD_CLASS_SYSTEM, "The registry on disk cannot be read or written.") \
    \
    X(KD_ERR_MALFORMED, "malformed", KD_CLASS_BUG, "A message between keyd's processes is not well formed.") \
    X(KD_ERR_BUG, "bug", KD_CLASS_BUG, "keyd met a state that should not be possible.")
// clang-format on

#endif
