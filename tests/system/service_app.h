// SPDX-License-Identifier: Apache-2.0
// service_app.h: what the files of tests/system/service share: the words of a line, and answers.
#ifndef KD_TESTS_SERVICE_APP_H
#define KD_TESTS_SERVICE_APP_H

#include "client/keyd_service.h"

#include <stdbool.h>

#define WORDS_MAX 1100

extern struct keyd_service *service;
extern size_t n_words;

const char *word(size_t i); // "-": none
unsigned number(size_t i);
const char *text(size_t i); // NULL for none
struct keyd_bytes bytes(size_t i);
struct keyd_with with(size_t i);
struct keyd_room room(void);

bool begin(enum keyd_err err);
void put_text(const char *what);
void put_bytes(const void *p, size_t n);
void put_room(enum keyd_err err, const struct keyd_room *r);
void put_key(enum keyd_err err, const struct keyd_key *k);
void put_results(enum keyd_err err, const struct keyd_result *results, size_t n);

// What keyd keeps, and operations on many (service_objects.c).  False: the command is another's.
bool objects(const char *name);

#endif
