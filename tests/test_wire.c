/* The wire: frames survive any split, and nothing that is not a frame is taken for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "targets/node/wire.h"

static int64_t parse(struct bytes data, enum wire_type *type, struct bytes *payload) {
    const char *why = NULL;
    int64_t size = wire_parse(data, type, payload, &why);
    assert_true((size < 0) == (why != NULL));
    return size;
}

static void a_frame_is_its_parts_in_order(void **state) {
    (void)state;
    struct buffer b = {0};
    struct bytes parts[] = {bytes_str("to"), bytes_str(""), bytes_str("gether")};
    wire_append(&b, WIRE_REQUEST, parts, 3);
    wire_append(&b, WIRE_ASK, NULL, 0);
    enum wire_type type;
    struct bytes payload;
    int64_t size = parse(bytes_of(b.data, b.size), &type, &payload);
    assert_int_equal(size, WIRE_HEADER_BYTES + 8);
    assert_int_equal(type, WIRE_REQUEST);
    assert_true(bytes_equal(payload, bytes_str("together")));
    size = parse(bytes_of(b.data + size, b.size - (size_t)size), &type, &payload);
    assert_int_equal(size, WIRE_HEADER_BYTES);
    assert_int_equal(type, WIRE_ASK);
    assert_int_equal(payload.size, 0);
    buffer_free(&b);
}

static void an_unfinished_frame_is_waited_for(void **state) {
    (void)state;
    struct buffer b = {0};
    wire_append(&b, WIRE_MESSAGE, &(struct bytes){(const uint8_t *)"payload", 7}, 1);
    enum wire_type type;
    struct bytes payload;
    for (size_t size = 0; size < b.size; size++) assert_int_equal(parse(bytes_of(b.data, size), &type, &payload), 0);
    buffer_free(&b);
}

/* No single changed bit goes through, and none makes the receiver wait for bytes that were never sent. */
static void a_changed_bit_is_refused_at_once(void **state) {
    (void)state;
    struct buffer b = {0};
    wire_append(&b, WIRE_MESSAGE, &(struct bytes){(const uint8_t *)"payload", 7}, 1);
    for (size_t bit = 0; bit < (WIRE_HEADER_BYTES + 7) * 8; bit++) {
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        enum wire_type type;
        struct bytes payload;
        assert_int_equal(parse(bytes_of(b.data, b.size), &type, &payload), -1);
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buffer_free(&b);
}

static void too_large_is_refused_by_the_header_alone(void **state) {
    (void)state;
    uint8_t header[WIRE_HEADER_BYTES];
    struct writer w = {.data = header, .capacity = sizeof header};
    write_u32(&w, WIRE_MAGIC);
    uint32_t size = WIRE_PAYLOAD_MAX + 1;
    write_u32(&w, WIRE_REQUEST | (uint32_t)hash_u64((uint64_t)size << 8 | WIRE_REQUEST) << 8);
    write_u32(&w, size);
    write_u32(&w, 0);
    enum wire_type type;
    struct bytes payload;
    assert_int_equal(parse(bytes_of(header, sizeof header), &type, &payload), -1);
    assert_int_equal(parse(bytes_str("GET "), &type, &payload), -1);
}

static void a_status_comes_back_as_it_was(void **state) {
    (void)state;
    struct wire_status s = {.node = 2,
                            .role = 1,
                            .leader = 255,
                            .serving = 0,
                            .term = 7,
                            .commit_index = 1,
                            .applied_index = 2,
                            .last_index = 3,
                            .state_hash = UINT64_MAX,
                            .fast_commits = 4,
                            .slow_commits = 5};
    memset(s.reason, 'x', sizeof s.reason - 1);
    struct buffer b = {0};
    wire_status_append(&b, &s);
    enum wire_type type;
    struct bytes payload;
    assert_int_equal(parse(bytes_of(b.data, b.size), &type, &payload), (int64_t)b.size);
    assert_int_equal(type, WIRE_STATUS);
    struct wire_status back;
    assert_true(wire_status_decode(payload, &back));
    assert_memory_equal(&back, &s, sizeof s);
    for (size_t size = 0; size < payload.size; size++)
        assert_false(wire_status_decode(bytes_of(payload.data, size), &back));
    buffer_append(&b, "", 1);
    assert_false(wire_status_decode(bytes_of(b.data + WIRE_HEADER_BYTES, payload.size + 1), &back));
    buffer_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_is_its_parts_in_order),    cmocka_unit_test(an_unfinished_frame_is_waited_for),
        cmocka_unit_test(a_changed_bit_is_refused_at_once), cmocka_unit_test(too_large_is_refused_by_the_header_alone),
        cmocka_unit_test(a_status_comes_back_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
