/* Real TLS connections, none of them resumed.
 *
 * tls serve ADDRESS PORT CERTIFICATE KEY THREADS: until a signal ends it.
 * tls ask SOURCE ADDRESS PORT NAMES SECONDS THREADS RATE: RATE connections a second over all threads, 0 for as many as there
 * can be; the server names are the lines of the file NAMES in turn. Prints how many came about and how many did not, and median
 * and 99th percentile of the microseconds from connect() to the end of the handshake. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_CONNECTIONS = 1 << 17,
    MAX_NAMES = 1 << 16,
    REQUEST = 400,
    RESPONSE = 4000,
    KEY_SHARE = 1200, /* what a post-quantum key share takes, so that the hello has the size of a browser's */
    GREASE = 0x4a4a,
    PATIENCE_S = 3
};

static SSL_CTX *context;
static struct sockaddr_in source, server;
static int bound, threads;
static double begin, rate, seconds;
static char *names[MAX_NAMES];
static unsigned count_of_names, taken, done, failed;
static int took_us[MAX_CONNECTIONS];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static struct sockaddr_in address(const char *text, int port)
{
    struct sockaddr_in made = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, text, &made.sin_addr) != 1)
        exit(1);
    return made;
}

static void prepare(int stream)
{
    struct timeval most = {.tv_sec = PATIENCE_S};
    int on = 1;
    /* As browsers and servers do: a request must not wait until the handshake is acknowledged. */
    setsockopt(stream, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(stream, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    setsockopt(stream, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
}

static void *serve(void *nothing)
{
    static const char response[RESPONSE];
    char request[REQUEST];
    for (;;) {
        int stream = accept(bound, NULL, NULL);
        SSL *tls = SSL_new(context);
        if (stream < 0)
            exit(1);
        prepare(stream);
        SSL_set_fd(tls, stream);
        if (SSL_accept(tls) == 1 && SSL_read(tls, request, sizeof request) > 0)
            SSL_write(tls, response, sizeof response);
        /* The client closes first. */
        SSL_read(tls, request, sizeof request);
        SSL_free(tls);
        close(stream);
    }
    return nothing;
}

static int key_share(SSL *tls, unsigned kind, unsigned where, const unsigned char **octets, size_t *length, X509 *certificate,
                     size_t index, int *alert, void *nothing)
{
    static const unsigned char zeros[KEY_SHARE];
    (void)tls, (void)kind, (void)where, (void)certificate, (void)index, (void)alert, (void)nothing;
    *octets = zeros;
    *length = sizeof zeros;
    return 1;
}

/* Returns whether a connection came about and brought its response; keeps how long connection and handshake took. */
static int ask_once(unsigned number)
{
    static const char request[REQUEST];
    char response[RESPONSE];
    double before = now();
    int stream = socket(AF_INET, SOCK_STREAM, 0), good = 0;
    SSL *tls = SSL_new(context);
    prepare(stream);
    SSL_set_fd(tls, stream);
    SSL_set_tlsext_host_name(tls, names[number % count_of_names]);
    if (bind(stream, (void *)&source, sizeof source) == 0 && connect(stream, (void *)&server, sizeof server) == 0 &&
        SSL_connect(tls) == 1) {
        took_us[number] = (now() - before) * 1e6;
        good = SSL_write(tls, request, sizeof request) > 0 && SSL_read(tls, response, sizeof response) > 0;
    }
    if (good)
        SSL_shutdown(tls);
    SSL_free(tls);
    close(stream);
    return good;
}

static void *ask(void *nothing)
{
    for (;;) {
        unsigned number = __atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED);
        double due = begin + (rate > 0 ? number / rate : 0), wait = due - now();
        if (number >= MAX_CONNECTIONS || now() >= begin + seconds || due >= begin + seconds)
            return nothing;
        if (wait > 0)
            usleep(wait * 1e6);
        if (ask_once(number))
            __atomic_fetch_add(&done, 1, __ATOMIC_RELAXED);
        else {
            took_us[number] = 0;
            __atomic_fetch_add(&failed, 1, __ATOMIC_RELAXED);
        }
    }
}

static void run(void *(*work)(void *))
{
    pthread_t started[threads];
    for (int i = 0; i < threads; i++)
        pthread_create(&started[i], NULL, work, NULL);
    for (int i = 0; i < threads; i++)
        pthread_join(started[i], NULL);
}

static int compare(const void *one, const void *other)
{
    return *(const int *)one - *(const int *)other;
}

static int main_serve(char **words)
{
    int on = 1;
    context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0);
    server = address(words[2], atoi(words[3]));
    threads = atoi(words[6]);
    bound = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(bound, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (SSL_CTX_use_certificate_file(context, words[4], SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, words[5], SSL_FILETYPE_PEM) != 1 ||
        bind(bound, (void *)&server, sizeof server) != 0 || listen(bound, 1024) != 0)
        return 1;
    run(serve);
    return 0;
}

static int main_ask(char **words)
{
    char line[256];
    FILE *lines = fopen(words[5], "r");
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_add_custom_ext(context, GREASE, SSL_EXT_CLIENT_HELLO, key_share, NULL, NULL, NULL, NULL);
    source = address(words[2], 0);
    server = address(words[3], atoi(words[4]));
    while (lines && count_of_names < MAX_NAMES && fgets(line, sizeof line, lines)) {
        line[strcspn(line, "\n")] = 0;
        names[count_of_names++] = strdup(line);
    }
    if (!count_of_names)
        return 1;
    seconds = atof(words[6]);
    threads = atoi(words[7]);
    rate = atof(words[8]);
    begin = now();
    run(ask);
    qsort(took_us, MAX_CONNECTIONS, sizeof *took_us, compare);
    int *good = took_us + MAX_CONNECTIONS - done;
    printf("%u %u %d %d\n", done, failed, done ? good[done / 2] : 0, done ? good[done * 99 / 100] : 0);
    return 0;
}

int main(int count, char **words)
{
    signal(SIGPIPE, SIG_IGN);
    if (count == 7 && strcmp(words[1], "serve") == 0)
        return main_serve(words);
    if (count == 9 && strcmp(words[1], "ask") == 0)
        return main_ask(words);
    return 1;
}
