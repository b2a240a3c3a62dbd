/* The module `http`: requests by libcurl, one connection kept alive per handle. A multi handle carries each request,
 * since its poll can also wait for the descriptor that gives a call up.
 *
 * libcurl sends a request again on a fresh connection when a kept one dies before the first byte of an answer, also a
 * POST. A write could happen twice so, or have happened although the second connection is refused; therefore only one
 * sending is allowed, and `sent` tells of it (CURLOPT_PREREQFUNCTION). */
#include "targets/foreign/internal.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"

#define HTTP_TYPE "http connection"

struct http {
    CURLM *multi;
    CURL *easy;
    char *base; /* http://address:port */
    struct buffer answer;
    bool sent, too_large;
};

static size_t on_data(char *data, size_t size, size_t count, void *ctx) {
    struct http *h = ctx;
    size *= count;
    if (size > FOREIGN_ANSWER_BYTES_MAX - h->answer.size) {
        h->too_large = true;
        return 0;
    }
    buffer_append(&h->answer, data, size);
    return size;
}

static int on_sending(void *ctx, char *to, char *from, int to_port, int from_port) {
    (void)to, (void)from, (void)to_port, (void)from_port;
    struct http *h = ctx;
    if (h->sent) return CURL_PREREQFUNC_ABORT;
    h->sent = true;
    return CURL_PREREQFUNC_OK;
}

static void initialise(void) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int http_connect(lua_State *L) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const char *base = luaL_checkstring(L, 1);
    bool known = strncmp(base, "http://", 7) == 0 || strncmp(base, "https://", 8) == 0;
    luaL_argcheck(L, known, 1, "an address looks like http://10.77.0.1:2379");
    state_calling(L);
    pthread_once(&once, initialise);
    struct http *h = lua_newuserdatauv(L, sizeof *h, 0);
    *h = (struct http){0};
    luaL_setmetatable(L, HTTP_TYPE);
    h->multi = curl_multi_init();
    h->easy = curl_easy_init();
    if (!h->multi || !h->easy) return luaL_error(L, "libcurl has no memory for a connection");
    size_t size = strlen(base);
    while (size && base[size - 1] == '/') size--;
    h->base = xformat("%.*s", (int)size, base);
    return 1;
}

static int http_close(lua_State *L) {
    struct http *h = luaL_checkudata(L, 1, HTTP_TYPE);
    if (h->easy) curl_easy_cleanup(h->easy);
    if (h->multi) curl_multi_cleanup(h->multi);
    free(h->base);
    buffer_free(&h->answer);
    *h = (struct http){0};
    return 0;
}

/* Drives the request to its end, the deadline, or until it is given up; a word for what went wrong, or NULL. */
static const char *perform(struct state *s, struct http *h, uint64_t deadline_ns) {
    struct curl_waitfd cancel = {.fd = s->cancel_fd, .events = CURL_WAIT_POLLIN};
    unsigned extra = s->cancel_fd >= 0 ? 1 : 0;
    for (;;) {
        int running = 0, ready = 0;
        if (curl_multi_perform(h->multi, &running)) return "lost";
        if (!running) break;
        uint64_t now_ns = monotonic_ns();
        if (atomic_load(&s->cancelled)) return "cancelled";
        if (now_ns >= deadline_ns) return "timeout";
        uint64_t left_ms = (deadline_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS;
        if (curl_multi_poll(h->multi, &cancel, extra, left_ms > 1000 ? 1000 : (int)left_ms, &ready)) return "lost";
    }
    int left = 0;
    const CURLMsg *message = curl_multi_info_read(h->multi, &left);
    CURLcode code = message ? message->data.result : CURLE_RECV_ERROR;
    switch (code) {
    case CURLE_OK: return NULL;
    case CURLE_OPERATION_TIMEDOUT: return "timeout";
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST: return h->sent ? "lost" : "connect";
    case CURLE_WRITE_ERROR: return h->too_large ? "too large" : "lost";
    default: return "lost";
    }
}

/* The option `headers`, a table by name, as curl's list. Raises nothing: what is no text is left out. */
static struct curl_slist *headers_of(lua_State *L, int options) {
    /* Without it a longer body waits a round trip for a 100 Continue. */
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    if (!lua_istable(L, options)) return list;
    lua_pushliteral(L, "headers");
    if (lua_rawget(L, options) == LUA_TTABLE) {
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING) continue;
            char *line = xformat("%s: %s", lua_tostring(L, -2), lua_tostring(L, -1));
            list = curl_slist_append(list, line);
            free(line);
        }
    }
    lua_pop(L, 1);
    return list;
}

/* request(method, path, body or nil, options or nil) -> status, body, or nil, word, sent */
static int request(lua_State *L, const char *method, int path_at, int body_at, int options_at) {
    struct http *h = luaL_checkudata(L, 1, HTTP_TYPE);
    if (!h->easy) return luaL_error(L, "this http connection is closed");
    struct state *s = state_calling(L);
    const char *path = luaL_checkstring(L, path_at);
    luaL_argcheck(L, *path == '/', path_at, "a path begins with /");
    size_t body_size = 0;
    const char *body = body_at ? luaL_optlstring(L, body_at, "", &body_size) : NULL;
    if (!lua_isnoneornil(L, options_at)) luaL_checktype(L, options_at, LUA_TTABLE);
    lua_settop(L, options_at);
    if (lua_istable(L, options_at)) {
        lua_getfield(L, options_at, "timeout");
    } else {
        lua_pushnil(L);
    }
    uint64_t deadline_ns = state_deadline(L, options_at + 1);
    luaL_checkstack(L, 8, NULL);
    if (monotonic_ns() >= deadline_ns) return state_failure(L, "timeout", false);

    char *url = xformat("%s%s", h->base, path);
    struct curl_slist *headers = headers_of(L, options_at);
    curl_easy_reset(h->easy);
    curl_easy_setopt(h->easy, CURLOPT_URL, url);
    curl_easy_setopt(h->easy, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(h->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(h->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(h->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h->easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(h->easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(h->easy, CURLOPT_WRITEDATA, h);
    curl_easy_setopt(h->easy, CURLOPT_PREREQFUNCTION, on_sending);
    curl_easy_setopt(h->easy, CURLOPT_PREREQDATA, h);
    if (body) {
        curl_easy_setopt(h->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body_size);
        curl_easy_setopt(h->easy, CURLOPT_POSTFIELDS, body);
    }
    h->sent = h->too_large = false;
    h->answer.size = 0;
    curl_multi_add_handle(h->multi, h->easy);
    const char *word = perform(s, h, deadline_ns);
    long status = 0;
    curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(h->multi, h->easy);
    curl_slist_free_all(headers);
    free(url);
    if (word) return state_failure(L, word, h->sent);
    lua_pushinteger(L, (lua_Integer)status);
    lua_pushlstring(L, h->answer.size ? (const char *)h->answer.data : "", h->answer.size);
    return 2;
}

static int http_get(lua_State *L) {
    return request(L, "GET", 2, 0, 3);
}

static int http_delete(lua_State *L) {
    return request(L, "DELETE", 2, 0, 3);
}

static int http_post(lua_State *L) {
    return request(L, "POST", 2, 3, 4);
}

static int http_put(lua_State *L) {
    return request(L, "PUT", 2, 3, 4);
}

static int http_request(lua_State *L) {
    return request(L, luaL_checkstring(L, 2), 3, 4, 5);
}

int http_module(lua_State *L) {
    static const luaL_Reg methods[] = {{"get", http_get},    {"delete", http_delete},   {"post", http_post},
                                       {"put", http_put},    {"request", http_request}, {"close", http_close},
                                       {"__gc", http_close}, {"__close", http_close},   {NULL, NULL}};
    static const luaL_Reg functions[] = {{"connect", http_connect}, {NULL, NULL}};
    luaL_newmetatable(L, HTTP_TYPE);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
