// SPDX-License-Identifier: Apache-2.0
// demo_backend.c: the smallest backend of a gateway (docs/gateway.md, The backend): an HTTP server
// that prints who sent what, and answers.
#include "client/demo.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_MAX_BYTES = 65536, ANSWER_MAX_BYTES = 256 };

static const char *header(struct MHD_Connection *c, const char *name) {
    const char *value = MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
    return value == NULL ? "" : value;
}

static enum MHD_Result answer(struct kd_demo *d, struct MHD_Connection *c, struct kd_buf *message) {
    char text[ANSWER_MAX_BYTES];
    const char *peer = header(c, "Keyd-Peer");
    d->n_messages++;
    message->n -= message->n > 0 && message->p[message->n - 1] == '\n' ? 1 : 0;
    fprintf(d->ctl->out, "   backend: Keyd-Peer: %s  Keyd-Session: %s  body: ", peer,
            header(c, "Keyd-Session"));
    kd_buf_u8(message, '\0');
    kd_output_text(d->ctl->out, (const char *)message->p);
    fputc('\n', d->ctl->out);
    const int n =
        snprintf(text, sizeof(text), "Thank you, %.64s: %zu bytes.\n", peer, message->n - 1);
    struct MHD_Response *r =
        MHD_create_response_from_buffer((size_t)n, text, MHD_RESPMEM_MUST_COPY);
    const enum MHD_Result result = r == NULL ? MHD_NO : MHD_queue_response(c, MHD_HTTP_OK, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result on_request(void *demo, struct MHD_Connection *c, const char *url KD_UNUSED,
                                  const char *method KD_UNUSED, const char *version KD_UNUSED,
                                  const char *data, size_t *n, void **state) {
    struct kd_buf *message = *state;
    if (message == NULL) { // its head
        *state = message = calloc(1, sizeof(*message));
        if (message != NULL) {
            *message = KD_BUF_INIT(MESSAGE_MAX_BYTES + 1);
        }
        return message == NULL ? MHD_NO : MHD_YES;
    }
    if (*n > 0) {
        kd_buf_put(message, data, *n);
        *n = 0;
        return MHD_YES;
    }
    return kd_buf_finish(message) == KD_OK ? answer(demo, c, message) : MHD_NO;
}

static void on_end(void *demo KD_UNUSED, struct MHD_Connection *c KD_UNUSED, void **state,
                   enum MHD_RequestTerminationCode why KD_UNUSED) {
    if (*state != NULL) {
        kd_buf_wipe(*state);
        free(*state);
    }
}

enum kd_err kd_demo_start_backend(struct kd_demo *d) {
    const struct sockaddr_in address = { .sin_family = AF_INET,
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    d->backend = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, d,
                                  MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_NOTIFY_COMPLETED,
                                  on_end, NULL, MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        d->backend == NULL ? NULL : MHD_get_daemon_info(d->backend, MHD_DAEMON_INFO_BIND_PORT);
    if (info == NULL || info->port == 0) {
        return KD_ERR_SYSTEM;
    }
    d->backend_port = info->port;
    return KD_OK;
}

void kd_demo_stop_backend(struct kd_demo *d) {
    if (d->backend != NULL) {
        MHD_stop_daemon(d->backend);
        d->backend = NULL;
    }
}
