/* A small pool of threads.
 *
 * Why not OpenMP: its runtime would have to be shipped, hangs in a forked child, and spins after
 * each region, which starves the threads of BLAS and PyTorch (and theirs starve ours).  Here a
 * worker spins for some tens of microseconds, then offers its processor to whoever wants it until
 * two milliseconds are over, which lasts from kernel to kernel of a training step, and then sleeps:
 * waking a processor that sleeps costs more than a small kernel.  The caller always works too and
 * waits only for workers that have started, asleep if it takes long, so a busy machine costs speed,
 * never a stall.  While one caller uses the pool, calls from other threads run on their own thread.
 */
#include "parallel.h"

static void run_serially(task_fn task, const void *arg, ptrdiff_t tasks)
{
    for (ptrdiff_t i = 0; i < tasks; i++)
        task(arg, i, 0);
}

#if defined(_WIN32)

void parallel_run(task_fn task, const void *arg, ptrdiff_t tasks, int threads)
{
    (void)threads;
    run_serially(task, arg, tasks);
}

#else

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

enum { SPINS = 2000 /* about 0.1 ms */, AWAKE = 2000000 /* ns */, MOST_WORKERS = 255 };

static struct {
    pthread_mutex_t user;  /* held by the caller whose job this is */
    pthread_mutex_t lock;  /* guards what follows, except the atomics */
    pthread_cond_t wake;   /* workers wait here for a job */
    pthread_cond_t idle;   /* the caller waits here for workers */
    int workers;           /* threads started so far */
    int seats;             /* workers that may still join the job; 0 when there is none */
    int joined;
    task_fn task;
    const void *arg;
    ptrdiff_t tasks;
    atomic_ptrdiff_t next; /* the first task not yet taken */
    atomic_int active;     /* workers that joined and have not finished */
    atomic_int waiting;    /* whether the caller sleeps until they have */
    atomic_uint jobs;      /* jobs so far: what a spinning worker watches */
} pool = {.user = PTHREAD_MUTEX_INITIALIZER,
          .lock = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER,
          .idle = PTHREAD_COND_INITIALIZER};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1000000000LL * t.tv_sec + t.tv_nsec;
}

/* Stay awake for a while, in the hope of another job than the one seen. */
static void linger(unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&pool.jobs) != seen)
            return;
        relax();
    }
    for (long long end = now() + AWAKE; atomic_load(&pool.jobs) == seen && now() < end;)
        sched_yield();
}

static void take_tasks(int thread)
{
    ptrdiff_t i;
    while ((i = atomic_fetch_add_explicit(&pool.next, 1, memory_order_relaxed)) < pool.tasks)
        pool.task(pool.arg, i, thread);
}

/* Wait for a job that still has a seat, and take it; returns the thread's number in that job. */
static int wait_for_seat(unsigned *seen)
{
    linger(*seen);
    pthread_mutex_lock(&pool.lock);
    while (pool.seats == 0)
        pthread_cond_wait(&pool.wake, &pool.lock);
    pool.seats--;
    int thread = ++pool.joined;
    atomic_fetch_add(&pool.active, 1);
    *seen = atomic_load(&pool.jobs);
    pthread_mutex_unlock(&pool.lock);
    return thread;
}

/* The last worker to leave wakes a caller that sleeps. */
static void leave_seat(void)
{
    if (atomic_fetch_sub(&pool.active, 1) == 1 && atomic_load(&pool.waiting)) {
        pthread_mutex_lock(&pool.lock);
        pthread_cond_signal(&pool.idle);
        pthread_mutex_unlock(&pool.lock);
    }
}

static void *work(void *unused)
{
    (void)unused;
    unsigned seen = 0;
    for (;;) {
        take_tasks(wait_for_seat(&seen));
        leave_seat();
    }
    return NULL;
}

/* A forked child has no workers, and locks that may be held by threads that it does not have. */
static void forget_workers(void)
{
    pool.user = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pool.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pool.wake = pool.idle = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    pool.workers = pool.seats = 0;
    atomic_store(&pool.active, 0);
    atomic_store(&pool.waiting, 0);
}

/* The handler is the process's for good, and its children's: where no thread can be made, the pool
 * stays empty, and one more at every call would never be given back. */
static void watch_forks(void)
{
    static int watched;
    if (!watched)
        watched = pthread_atfork(NULL, NULL, forget_workers) == 0;
}

static void add_workers(int wanted)
{
    if (pool.workers == 0 && wanted > 0)
        watch_forks();
    for (; pool.workers < wanted; pool.workers++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, NULL) != 0)
            return; /* fewer threads, the same result */
        pthread_detach(thread);
    }
}

static void open_job(task_fn task, const void *arg, ptrdiff_t tasks, int seats)
{
    pthread_mutex_lock(&pool.lock);
    add_workers(seats);
    pool.task = task;
    pool.arg = arg;
    pool.tasks = tasks;
    pool.joined = 0;
    pool.seats = seats;
    atomic_store(&pool.next, 0);
    atomic_fetch_add(&pool.jobs, 1);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
}

static void close_job(void)
{
    pthread_mutex_lock(&pool.lock);
    pool.seats = 0;
    pthread_mutex_unlock(&pool.lock);
    for (int i = 0; i < SPINS && atomic_load(&pool.active) > 0; i++)
        relax();
    if (atomic_load(&pool.active) == 0)
        return;
    pthread_mutex_lock(&pool.lock);
    atomic_store(&pool.waiting, 1);
    while (atomic_load(&pool.active) > 0)
        pthread_cond_wait(&pool.idle, &pool.lock);
    atomic_store(&pool.waiting, 0);
    pthread_mutex_unlock(&pool.lock);
}

void parallel_run(task_fn task, const void *arg, ptrdiff_t tasks, int threads)
{
    if (threads > tasks)
        threads = (int)tasks;
    if (threads > MOST_WORKERS)
        threads = MOST_WORKERS;
    if (threads <= 1 || pthread_mutex_trylock(&pool.user) != 0) {
        run_serially(task, arg, tasks);
        return;
    }
    open_job(task, arg, tasks, threads - 1);
    take_tasks(0);
    close_job();
    pthread_mutex_unlock(&pool.user);
}

#endif
