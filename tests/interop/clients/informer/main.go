// Command informer follows resources with client-go's informers, as controllers and kubelets do.
//
// Its standard input has one command a line, words separated by spaces, `-` for an empty one. It answers
// each with one line of JSON:
//
//	follow NAME FORM RESOURCE NAMESPACE FIELDS LABELS
//	            starts an informer; FORM is json, protobuf, dynamic or metadata, and RESOURCE is
//	            RESOURCE.VERSION.GROUP or, of the core group, RESOURCE.VERSION
//	show NAME   {"synced": bool, "objects": {"namespace/name": resourceVersion}, "added": n, "updated": n,
//	            "deleted": n, "errors": n}
//	requests    {"list": n, "watch": n, "watchlist": n, "other": n}: what was asked since the last time
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const neverResync = 0 * time.Second

// requests counts what is asked of the API server.
type requests struct {
	next                           http.RoundTripper
	list, watch, watchList, others *atomic.Int64
}

func (r *requests) RoundTrip(request *http.Request) (*http.Response, error) {
	query := request.URL.Query()
	switch {
	case query.Get("watch") != "" && query.Get("sendInitialEvents") != "":
		r.watchList.Add(1)
	case query.Get("watch") != "":
		r.watch.Add(1)
	case query.Has("resourceVersion"):
		r.list.Add(1)
	default:
		r.others.Add(1)
	}
	return r.next.RoundTrip(request)
}

// followed is one informer and what its handler was told.
type followed struct {
	informer                        cache.SharedIndexInformer
	added, updated, deleted, errors atomic.Int64
}

func (f *followed) show() (map[string]any, error) {
	objects := map[string]string{}
	for _, each := range f.informer.GetStore().List() {
		object, err := meta.Accessor(each)
		if err != nil {
			return nil, err
		}
		objects[object.GetNamespace()+"/"+object.GetName()] = object.GetResourceVersion()
	}
	return map[string]any{
		"synced":  f.informer.HasSynced(),
		"objects": objects,
		"added":   f.added.Load(),
		"updated": f.updated.Load(),
		"deleted": f.deleted.Load(),
		"errors":  f.errors.Load(),
	}, nil
}

type program struct {
	config   *rest.Config
	stop     chan struct{}
	informer map[string]*followed
	counted  requests
}

// inProtobuf is the configuration of clients as Kubernetes' own components have it.
func (p *program) inProtobuf() *rest.Config {
	config := rest.CopyConfig(p.config)
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.ContentType = runtime.ContentTypeProtobuf
	return config
}

func (p *program) make(form, resource, namespace, fields, labels string) (cache.SharedIndexInformer, error) {
	parts := strings.SplitN(resource, ".", 3)
	if len(parts) < 2 {
		return nil, fmt.Errorf("%q has no version", resource)
	}
	kind := schema.GroupVersionResource{Resource: parts[0], Version: parts[1]}
	if len(parts) == 3 {
		kind.Group = parts[2]
	}
	tweak := func(options *metav1.ListOptions) {
		options.FieldSelector = fields
		options.LabelSelector = labels
	}
	switch form {
	case "json", "protobuf":
		config := p.config
		if form == "protobuf" {
			config = p.inProtobuf()
		}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		factory := informers.NewFilteredSharedInformerFactory(client, neverResync, namespace, tweak)
		found, err := factory.ForResource(kind)
		if err != nil {
			return nil, err
		}
		return found.Informer(), nil
	case "dynamic":
		client, err := dynamic.NewForConfig(p.config)
		if err != nil {
			return nil, err
		}
		factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, neverResync, namespace, tweak)
		return factory.ForResource(kind).Informer(), nil
	case "metadata":
		client, err := metadata.NewForConfig(p.inProtobuf())
		if err != nil {
			return nil, err
		}
		factory := metadatainformer.NewFilteredSharedInformerFactory(client, neverResync, namespace, tweak)
		return factory.ForResource(kind).Informer(), nil
	}
	return nil, fmt.Errorf("unknown form %q", form)
}

func (p *program) follow(name, form, resource, namespace, fields, labels string) error {
	informer, err := p.make(form, resource, namespace, fields, labels)
	if err != nil {
		return err
	}
	each := &followed{informer: informer}
	err = informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
		each.errors.Add(1)
		fmt.Fprintln(os.Stderr, name, err)
	})
	if err != nil {
		return err
	}
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { each.added.Add(1) },
		UpdateFunc: func(any, any) { each.updated.Add(1) },
		DeleteFunc: func(any) { each.deleted.Add(1) },
	})
	if err != nil {
		return err
	}
	p.informer[name] = each
	go informer.Run(p.stop)
	return nil
}

func (p *program) command(words []string) (any, error) {
	for number, word := range words {
		if word == "-" {
			words[number] = ""
		}
	}
	switch {
	case words[0] == "follow" && len(words) == 7:
		return struct{}{}, p.follow(words[1], words[2], words[3], words[4], words[5], words[6])
	case words[0] == "show" && len(words) == 2:
		if each, found := p.informer[words[1]]; found {
			return each.show()
		}
		return nil, fmt.Errorf("no informer is named %q", words[1])
	case words[0] == "requests" && len(words) == 1:
		return map[string]int64{
			"list":      p.counted.list.Swap(0),
			"watch":     p.counted.watch.Swap(0),
			"watchlist": p.counted.watchList.Swap(0),
			"other":     p.counted.others.Swap(0),
		}, nil
	}
	return nil, fmt.Errorf("unknown command %q", strings.Join(words, " "))
}

func run() error {
	path := flag.String("kubeconfig", "", "how to reach the API server")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *path)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = -1, 0
	counted := requests{list: &atomic.Int64{}, watch: &atomic.Int64{}, watchList: &atomic.Int64{}, others: &atomic.Int64{}}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		wrapped := counted
		wrapped.next = next
		return &wrapped
	})
	all := &program{config: config, stop: make(chan struct{}), informer: map[string]*followed{}, counted: counted}
	defer close(all.stop)
	lines := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		answer, err := all.command(words)
		if err != nil {
			answer = map[string]string{"error": err.Error()}
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
