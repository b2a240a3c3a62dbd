/* The search over models of one's own: what the check (steps.c) and the search (steps_search.c) share. */
#ifndef HARROW_CHECKERS_STEPS_INTERNAL_H
#define HARROW_CHECKERS_STEPS_INTERNAL_H

#include "checkers/evidence_internal.h"
#include "checkers/search_internal.h"

struct step_call {
    uint32_t op, class; /* calls of one class step alike */
    uint32_t invoked;   /* positions in the partition's order of events */
    uint32_t returned;  /* NONE: optional */
};

/* Steps that were asked for before. */
struct step_memo {
    const struct step_model *model;
    const struct history *h;
    struct budget *budget;  /* of what is under way; */
    uint64_t claimed_bytes; /* of it, for what the memo and the model hold */
    struct map64 next;      /* state and class -> state after it, or NONE */
    struct values values;   /* of operations; a kind of operation is the list of what it is made of */
    struct map64 classes;   /* by kind, numbered from 0 */
    bool failed;            /* the model could not tell: */
    uint32_t failed_op;
    struct error error;
};
/* NONE: the budget is spent. */
uint32_t steps_class(struct step_memo *m, uint32_t op);
/* The state after the call; NONE where the model refuses it, or failed, or the budget is spent. */
uint32_t steps_next(struct step_memo *m, uint32_t state, const struct step_call *call);
/* False: the memory allowed does not suffice for what the memo and the model hold and so many values more. */
bool steps_memo_claim(struct step_memo *m, uint64_t values);

struct step_frame { /* a configuration with choices: from `next` to the frame above */
    uint32_t undo_count, begin, next;
};
struct step_choice {
    uint32_t call, state;
};

struct step_search {
    struct step_memo *memo;
    struct budget *budget;

    /* The partition. */
    struct step_call *calls; /* in order of invocation */
    uint32_t *returns;       /* calls that are not optional, in order of return */
    uint32_t count, returns_count;
    uint32_t initial;

    struct arena arena;    /* of what follows, by call: */
    uint32_t *next, *prev; /* calls not placed: ok ones and optional ones, each in order of invocation */
    uint32_t *slot;        /* the bit in `bits` */
    uint8_t *placed;
    uint64_t *bits;
    uint32_t *words_at; /* by return: words of bits in use, of which ok_words for ok calls */
    uint32_t ok_words;
    uint64_t *class_stamp; /* by class: the configuration that last offered it, */
    uint32_t *class_choice, classes_count;
    uint64_t stamp;

    uint32_t state, first, first_max; /* the first return that is still open */
    uint32_t stop_at;                 /* the search ends when `first` comes here; NONE: at the end of all */
    struct undo *undo;                /* the calls placed, in order */
    struct step_frame *frames;
    struct step_choice *choices;
    uint32_t undo_count, undo_capacity, frames_count, frames_capacity, choices_count, choices_capacity;
    struct cache cache;
};
/* Calls and returns are set. UNDECIDED: the budget is spent, or the model failed. */
enum decision steps_decide(struct step_search *s, struct budget *b);
/* Once invalid: goes again, up to the first order that gets as far as any. It is in `undo`. */
bool steps_go_furthest(struct step_search *s, struct budget *b);
uint32_t steps_horizon(const struct step_search *s); /* calls invoked before this position may come next */
void steps_search_free(struct step_search *s);

#endif
