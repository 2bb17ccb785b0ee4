/* The floor of sockets, and the upstream of all: answers every question with one address and knows nothing.
 *
 * floor PORT: 64 datagrams a call on 127.0.0.1, until a signal ends it. Whatever follows the question is left away, so that it
 * also serves resolvers that send EDNS; TTL one hour. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, OCTETS = 1500, HEADER = 12 };

static unsigned char messages[BATCH][OCTETS];
static struct mmsghdr batch[BATCH];
static struct iovec parts[BATCH];
static struct sockaddr_in peers[BATCH];

static const unsigned char flags_and_counts[] = {0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0};
static const unsigned char address[] = {0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 192, 0, 2, 1};

/* The length of an answer to the query of that many octets, made in its place; 0 where it can't be read. */
static size_t answer(unsigned char *message, size_t octets)
{
    size_t end = HEADER;
    while (end < octets && message[end] != 0)
        end += message[end] + 1;
    end += 5;
    if (end > octets || end + sizeof address > OCTETS)
        return 0;
    memcpy(message + 2, flags_and_counts, sizeof flags_and_counts);
    memcpy(message + end, address, sizeof address);
    return end + sizeof address;
}

int main(int count, char **words)
{
    int bound = socket(AF_INET, SOCK_DGRAM, 0), octets = 4 << 20;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(words[1]) : 0)};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(bound, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);
    if (bind(bound, (void *)&here, sizeof here) != 0)
        return 1;
    for (int i = 0; i < BATCH; i++) {
        parts[i].iov_base = messages[i];
        batch[i].msg_hdr.msg_name = &peers[i];
        batch[i].msg_hdr.msg_iov = &parts[i];
        batch[i].msg_hdr.msg_iovlen = 1;
    }
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            parts[i].iov_len = OCTETS;
            batch[i].msg_hdr.msg_namelen = sizeof peers[i];
        }
        int received = recvmmsg(bound, batch, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < received; i++)
            parts[i].iov_len = answer(messages[i], batch[i].msg_len);
        for (int sent = 0, now; sent < received; sent += now > 0 ? now : 1)
            now = sendmmsg(bound, batch + sent, received - sent, 0);
    }
}
