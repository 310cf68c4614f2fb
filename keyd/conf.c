// SPDX-License-Identifier: Apache-2.0
// conf.c: the strict reading around libconfuse.  The file is read here and
// given to the parser from memory: its scanner ends the process on a read error
// (a directory is enough), which a reload must not do.
#include "keyd/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char end_mark[] = "keyd-end-of-file";

// Bits of cfg_opt_t.flags that libconfuse leaves alone.
enum { FLAG_SEEN = 1 << 24, FLAG_CLOSED = 1 << 25 };

// libconfuse's error function gets no argument of ours: where the complaints of
// the parse that this thread is in go to.
static _Thread_local struct kd_buf *sink;

KD_PRINTF(2, 0)
static void put_error(cfg_t *cfg, const char *format, va_list args) {
    char text[512];
    vsnprintf(text, sizeof(text), format, args);
    if (strstr(text, end_mark) != NULL) {
        snprintf(text, sizeof(text), "a closing brace or quote is missing before this line");
    }
    kd_buf_printf(sink, "%s:%d: %s\n", cfg->filename == NULL ? "?" : cfg->filename, cfg->line,
                  text);
}

// ---- comments --------------------------------------------------------------

static bool starts_comment(const char *p, char before) {
    const bool is_token_start = before == '\0' || strchr(" \t\r\n={}(),\"'", before) != NULL;
    return is_token_start && (p[0] == '#' || (p[0] == '/' && (p[1] == '/' || p[1] == '*')));
}

// Past the end of a comment; NULL where it has none.
static char *comment_end(char *p) {
    if (p[0] == '/' && p[1] == '*') {
        char *end = strstr(p + 2, "*/");
        return end == NULL ? NULL : end + 2;
    }
    return p + strcspn(p, "\n");
}

// Past the closing quote, or at the end of the text.
static char *quote_end(char *p) {
    const char quote = *p++;
    while (*p != '\0' && *p != quote) {
        p += *p == '\\' && p[1] != '\0' ? 2 : 1;
    }
    return *p == '\0' ? p : p + 1;
}

// Makes comments blank, but for their ends of lines: libconfuse 3.3 counts the
// lines of comments wrongly, and every complaint after one would name a wrong line.
static void blank_comments(char *text) {
    char before = '\0';
    for (char *p = text; *p != '\0';) {
        if (starts_comment(p, before)) {
            char *end = comment_end(p);
            if (end == NULL) {
                return; // the parser will not get past it
            }
            for (; p < end; p++) {
                *p = *p == '\n' ? '\n' : ' ';
            }
            before = ' ';
        } else if (*p == '"' || *p == '\'') {
            before = *p;
            p = quote_end(p);
        } else {
            before = *p++;
        }
    }
}

// ---- reading ---------------------------------------------------------------

static bool read_file(const char *path, struct kd_buf *text, struct kd_buf *errors) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        kd_buf_printf(errors, "%s: %s\n", path, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    const char *wrong = !S_ISREG(st.st_mode)          ? "not a regular file"
                        : (st.st_mode & S_IWOTH) != 0 ? "everybody may write it: chmod o-w"
                        : (size_t)st.st_size > KD_CONF_MAX_BYTES ? "larger than 1 MiB"
                                                                 : NULL;
    while (wrong == NULL) {
        const size_t at = text->n;
        uint8_t *p = kd_buf_extend(text, 4096);
        const ssize_t got = p == NULL ? -1 : read(fd, p, 4096);
        if (got < 0) {
            wrong = "cannot be read";
            break;
        }
        text->n = at + (size_t)got;
        if (got == 0) {
            break;
        }
    }
    close(fd);
    if (wrong == NULL && text->n > 0 && memchr(text->p, 0, text->n) != NULL) {
        wrong = "not a text file";
    }
    if (wrong != NULL) {
        kd_buf_printf(errors, "%s: %s\n", path, wrong);
        return false;
    }
    kd_buf_u8(text, '\0');
    if (kd_buf_finish(text) != KD_OK) {
        return false;
    }
    blank_comments((char *)text->p);
    text->n--;
    kd_buf_printf(text, "\n%s = true\n", end_mark);
    return kd_buf_finish(text) == KD_OK;
}

// libconfuse names the file in the root and in sections that may repeat only.
static bool name_sections(cfg_t *cfg, const char *path) {
    for (cfg_opt_t *o = cfg->opts; o->name != NULL; o++) {
        if (o->type == CFGT_SEC && (o->flags & CFGF_MULTI) == 0) {
            cfg_t *section = cfg_opt_getnsec(o, 0);
            free(section->filename);
            section->filename = strdup(path);
            if (section->filename == NULL) {
                return false;
            }
        }
    }
    cfg->filename = strdup(path);
    return cfg->filename != NULL;
}

// The options and one more, for the mark that is put behind the text: the parser
// takes the end of the file for the end of a section, so a file that has lost
// its tail would pass.  The mark must be seen, and outside of all sections.
static cfg_t *init_with_mark(cfg_opt_t *options) {
    size_t n = 0;
    while (options[n].name != NULL) {
        n++;
    }
    const cfg_opt_t mark = CFG_BOOL(end_mark, cfg_false, CFGF_NONE);
    cfg_opt_t *all = calloc(n + 2, sizeof(*all));
    if (all == NULL) {
        return NULL;
    }
    memcpy(all, options, n * sizeof(*all));
    all[n] = mark;
    all[n + 1] = options[n];
    cfg_t *cfg = cfg_init(all, CFGF_NONE);
    free(all);
    return cfg;
}

enum kd_err kd_conf_read(const char *path, cfg_opt_t *options, struct kd_buf *errors, cfg_t **out) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_CONF_MAX_BYTES + 4096);
    if (!read_file(path, &text, errors)) {
        return kd_buf_finish(&text) == KD_ERR_NO_MEMORY     ? KD_ERR_NO_MEMORY
               : access(path, F_OK) != 0 && errno == ENOENT ? KD_ERR_NO_FILE
                                                            : KD_ERR_CONFIG;
    }
    kd_auto(cfg) cfg_t *cfg = init_with_mark(options);
    if (cfg == NULL || !name_sections(cfg, path)) {
        return KD_ERR_NO_MEMORY;
    }
    FILE *f = fmemopen(text.p, text.n, "r");
    if (f == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    sink = errors;
    cfg_set_error_function(cfg, put_error);
    const int r = cfg_parse_fp(cfg, f);
    fclose(f);
    if (r == CFG_SUCCESS && cfg_getbool(cfg, end_mark) != cfg_true) {
        kd_buf_printf(errors, "%s: the file ends in the middle of something\n", path);
    }
    if (r != CFG_SUCCESS && errors->n == 0) { // libconfuse does not always say it
        kd_buf_printf(errors, "%s:%d: what stands here, or before it, is not well formed\n", path,
                      cfg->line);
    }
    sink = NULL;
    cfg_set_error_function(cfg, NULL);
    if (kd_buf_finish(errors) == KD_ERR_NO_MEMORY) {
        return KD_ERR_NO_MEMORY; // a complaint may be missing
    }
    if (r != CFG_SUCCESS || errors->n > 0) {
        return KD_ERR_CONFIG;
    }
    *out = KD_STEAL(cfg);
    return KD_OK;
}

static int refuse_again(cfg_t *section, const cfg_opt_t *option) {
    cfg_error(section, "'%s' is set a second time", option->name);
    return -1;
}

// A list is shown value by value, and once more with its closing brace: the
// option's comment, which nothing else uses, keeps what was shown last.
static int list_once(cfg_t *section, cfg_opt_t *option) {
    char now[2048];
    const cfg_value_t *value = option->values[option->nvalues - 1];
    const char *before = cfg_opt_getcomment(option);
    if (option->type == CFGT_STR) {
        snprintf(now, sizeof(now), "%u %s", option->nvalues, value->string);
    } else {
        snprintf(now, sizeof(now), "%u %ld", option->nvalues, value->number);
    }
    if (before != NULL && strcmp(before, now) == 0 && (option->flags & FLAG_CLOSED) == 0) {
        option->flags |= FLAG_CLOSED;
        return 0;
    }
    const unsigned last = before == NULL ? 0 : (unsigned)strtoul(before, NULL, 10);
    if ((option->flags & FLAG_CLOSED) != 0 || option->nvalues != last + 1) {
        return refuse_again(section, option);
    }
    return cfg_opt_setcomment(option, now) == CFG_SUCCESS ? 0 : -1;
}

int kd_conf_once(cfg_t *section, cfg_opt_t *option) {
    const bool is_again = (option->flags & FLAG_SEEN) != 0;
    option->flags |= FLAG_SEEN;
    if ((option->flags & CFGF_LIST) != 0) {
        return list_once(section, option);
    }
    return is_again ? refuse_again(section, option) : 0;
}

int kd_conf_one(cfg_t *parent, cfg_opt_t *option) {
    if ((option->flags & FLAG_CLOSED) != 0) {
        cfg_error(parent, "a second section '%s'", option->name);
        return -1;
    }
    option->flags |= FLAG_CLOSED;
    return 0;
}

int kd_conf_keep(cfg_t *parent, cfg_opt_t *option) {
    cfg_t *section = cfg_opt_getnsec(option, option->nvalues - 1);
    char *title = NULL;
    if (asprintf(&title, "%u\n%s", option->nvalues, section->title) < 0) {
        cfg_error(parent, "not enough memory");
        return -1;
    }
    free(section->title);
    section->title = title;
    return 0;
}

const char *kd_conf_title(cfg_t *section) {
    const char *end = strchr(section->title, '\n');
    return end == NULL ? section->title : end + 1;
}
