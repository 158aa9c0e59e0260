/* resolve WORD NAME...: a line "WORD NAME ADDRESS..." for each name, by the C library's own resolver. */
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int count, char **arguments)
{
    for (int at = 2; at < count; at++) {
        struct addrinfo wanted = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL, *each;
        char address[64];
        printf("%s %s", arguments[1], arguments[at]);
        if (getaddrinfo(arguments[at], NULL, &wanted, &found) == 0) {
            for (each = found; each; each = each->ai_next) {
                getnameinfo(each->ai_addr, each->ai_addrlen, address, sizeof address, NULL, 0, NI_NUMERICHOST);
                printf(" %s", address);
            }
        }
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
