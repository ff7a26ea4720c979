/* SPDX-License-Identifier: Apache-2.0 */
/* Connections per second: connect, the server closes, the client closes.
 *
 *   connect serve PORT            accepts and closes, for ever
 *   connect load ADDRESS PORT MS  connects for so long; prints how many it completed
 *
 * WORKERS processes on either side, each with blocking sockets, so that neither
 * side waits for one round trip at a time. The client closes with a reset, once
 * it has read the server's end: no port is left waiting, which else would end
 * the run after 28,000 connections.
 */
#include <arpa/inet.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 4
#define BACKLOG 1024

static void serve(int port)
{
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
	int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (void *)&here, sizeof(here)) || listen(listener, BACKLOG))
		err(1, "port %d", port);
	for (int worker = 1; worker < WORKERS; worker++)
		if (!fork())
			break;
	for (;;) {
		int accepted = accept(listener, 0, 0);

		if (accepted >= 0)
			close(accepted);
	}
}

static double now(void)
{
	struct timespec clock;

	clock_gettime(CLOCK_MONOTONIC, &clock);
	return clock.tv_sec + clock.tv_nsec / 1e9;
}

static long load(const struct sockaddr_in *server, double seconds)
{
	struct linger reset = {.l_onoff = 1};
	double end = now() + seconds;
	long completed = 0;
	char nothing;

	while (now() < end) {
		int opened = socket(AF_INET, SOCK_STREAM, 0);

		if (connect(opened, (const void *)server, sizeof(*server)))
			err(1, "connect");
		if (read(opened, &nothing, 1) != 0)
			err(1, "read");
		setsockopt(opened, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(opened);
		completed++;
	}
	return completed;
}

static long load_by_all(const char *address, int port, double seconds)
{
	struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(port)};
	long *completed = mmap(0, WORKERS * sizeof(*completed), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long total = 0;
	int status;

	if (completed == MAP_FAILED || inet_pton(AF_INET, address, &server.sin_addr) != 1)
		errx(1, "%s: no IPv4 address, or no memory", address);
	for (int worker = 0; worker < WORKERS; worker++)
		if (!fork()) {
			completed[worker] = load(&server, seconds);
			_exit(0);
		}
	while (wait(&status) > 0)
		if (status)
			errx(1, "a worker failed");
	for (int worker = 0; worker < WORKERS; worker++)
		total += completed[worker];
	return total;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(atoi(argv[2]));
	if (argc != 5 || strcmp(argv[1], "load"))
		errx(2, "serve PORT, or load ADDRESS PORT MS");
	printf("%ld\n", load_by_all(argv[2], atoi(argv[3]), atoi(argv[4]) / 1e3));
	return 0;
}
